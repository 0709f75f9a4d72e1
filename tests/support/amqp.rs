//! AMQP 0-9-1, byte by byte: publishes what no client library would write.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xce;

/// A property's bit among the flags of a content header.
pub const CONTENT_TYPE: u16 = 1 << 15;
pub const CONTENT_ENCODING: u16 = 1 << 14;
pub const HEADERS: u16 = 1 << 13;
pub const CORRELATION_ID: u16 = 1 << 10;
pub const REPLY_TO: u16 = 1 << 9;
pub const MESSAGE_ID: u16 = 1 << 7;
pub const TYPE: u16 = 1 << 5;
pub const APP_ID: u16 = 1 << 3;

/// A connection with one channel in confirm mode.
pub struct RawPublisher(TcpStream);

pub fn short(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

impl RawPublisher {
    pub async fn connect(url: &str) -> Self {
        let url = url::Url::parse(url).unwrap();
        let address = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5672));
        let mut this = Self(TcpStream::connect(address).await.unwrap());
        this.0.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
        this.expect(10, 10).await;
        let login = format!("\0{}\0{}", url.username(), url.password().unwrap());
        let start_ok = [long(b""), short(b"PLAIN"), long(login.as_bytes()), short(b"en_US")].concat();
        this.method(0, 10, 11, &start_ok).await;
        // What the broker proposes, but for the heartbeat.
        let tune = this.expect(10, 30).await;
        this.method(0, 10, 31, &[&tune[..6], &[0, 0]].concat()).await;
        let vhost = percent_encoding::percent_decode_str(url.path().trim_start_matches('/')).collect::<Vec<u8>>();
        let vhost = if vhost.is_empty() { b"/".to_vec() } else { vhost };
        this.method(0, 10, 40, &[short(&vhost), short(b""), vec![0]].concat()).await;
        this.expect(10, 41).await;
        this.method(1, 20, 10, &short(b"")).await;
        this.expect(20, 11).await;
        this.method(1, 85, 10, &[0]).await;
        this.expect(85, 11).await;
        this
    }

    /// Publishes a request, and waits until the broker has it.
    pub async fn publish(&mut self, exchange: &str, flags: u16, properties: &[u8], body: &[u8]) {
        self.publish_to(exchange, b"request", flags, properties, body).await;
    }

    /// The same with a routing key of any bytes.
    pub async fn publish_to(&mut self, exchange: &str, key: &[u8], flags: u16, properties: &[u8], body: &[u8]) {
        let method = [&[0, 0][..], &short(exchange.as_bytes()), &short(key), &[0]].concat();
        self.method(1, 60, 40, &method).await;
        let size = u64::try_from(body.len()).unwrap().to_be_bytes();
        let header = [&60_u16.to_be_bytes()[..], &[0, 0], &size, &flags.to_be_bytes(), properties].concat();
        self.frame(HEADER, 1, &header).await;
        self.frame(BODY, 1, body).await;
        self.expect(60, 80).await;
    }

    async fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let frame = [&[kind][..], &channel.to_be_bytes(), &long(payload), &[END]].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    async fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let payload = [&class.to_be_bytes()[..], &method.to_be_bytes(), arguments].concat();
        self.frame(METHOD, channel, &payload).await;
    }

    /// The arguments of the next method, which has to be this one.
    async fn expect(&mut self, class: u16, method: u16) -> Vec<u8> {
        let mut head = [0; 7];
        self.0.read_exact(&mut head).await.unwrap();
        let size = u32::from_be_bytes(head[3..].try_into().unwrap());
        let mut payload = vec![0; size as usize + 1];
        self.0.read_exact(&mut payload).await.unwrap();
        let wanted = [class.to_be_bytes(), method.to_be_bytes()].concat();
        assert!(head[0] == METHOD && payload[..4] == wanted[..], "{}", String::from_utf8_lossy(&payload));
        payload[4..payload.len() - 1].to_vec()
    }
}
