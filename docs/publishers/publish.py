#!/usr/bin/env python3
"""Asks asset-eraser to delete one asset for good, waits for the result, and prints it.

    AMQP_URL=amqps://USER:PASSWORD@HOST:5671/%2F python3 publish.py ASSET_ID REQUEST_ID

Needs pika (Debian: python3-pika; PyPI: pika). With amqps:// the broker's certificate is checked against the system's CAs.
Choose the REQUEST_ID yourself, and keep it: one that was answered is answered the same for ever, and never deletes twice.
"""
import json
import os
import sys
import time

import pika
from pika.exceptions import AMQPConnectionError, ChannelClosed, ConnectionClosed, StreamLostError, UnroutableError

# RabbitMQ's direct reply-to: the answers to what this channel asks, without a queue or a permission for one.
REPLIES = "amq.rabbitmq.reply-to"
EXCHANGE = os.environ.get("ASSET_ERASER_EXCHANGE", "asset.deletion")


def ask(parameters, request):
    """Publishes the request and gives its result, over one connection."""
    connection = pika.BlockingConnection(parameters)
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        results = []
        channel.basic_consume(REPLIES, lambda _channel, _method, _properties, body: results.append(body), auto_ack=True)
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,  # survives a restart of the broker
            message_id=request["request_id"],
            user_id=parameters.credentials.username,  # checked by the broker; who may ask is known by it
            reply_to=REPLIES,
        )
        # Returns when the broker has it; raises when no queue takes it or the broker refuses it.
        channel.basic_publish(EXCHANGE, "request", json.dumps(request).encode(), properties, mandatory=True)
        while not results:
            connection.process_data_events(time_limit=None)
        return json.loads(results[0])
    finally:
        if connection.is_open:
            connection.close()


def main(asset_id, request_id):
    request = {"request_id": request_id, "asset_id": asset_id, "requested_by": "publish.py"}
    parameters = pika.URLParameters(os.environ.get("AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/%2F"))
    pause = 1
    while True:
        try:
            result = ask(parameters, request)
            break
        except UnroutableError:
            sys.exit(f"nobody takes requests from exchange {EXCHANGE}: has asset-eraser ever been started?")
        # Whether the request arrived is not known: ask again. The same request_id makes that safe, and is answered with
        # the recorded result when there is one already.
        except (AMQPConnectionError, ConnectionClosed, StreamLostError) as error:
            print(f"connection lost ({error!r}); again in {pause} s", file=sys.stderr)
            time.sleep(pause)
            pause = min(2 * pause, 60)
        except ChannelClosed as error:
            sys.exit(f"the broker refused: {error}")
    print(json.dumps(result, indent=2))
    return 0 if result["data"]["outcome"] in ("deleted", "already_absent") else 1


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
