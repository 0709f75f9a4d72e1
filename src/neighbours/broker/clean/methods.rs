//! The arguments of the methods that tell of messages: routing keys and names are any bytes that a publisher wrote.

use super::rest::Rest;

/// An argument of a method.
#[derive(Clone, Copy)]
enum Argument {
    Text,
    Bytes(usize),
}
use Argument::{Bytes, Text};

/// `connection.tune`, in which the broker says how large frames may be.
const TUNE: [u8; 4] = [0, 10, 0, 30];

/// Makes the texts of a method readable, in their place. Gives the `frame_max` that the broker offers, where it does.
pub(super) fn clean(payload: &mut [u8]) -> Option<u32> {
    let mut rest = Rest(payload);
    let method = rest.bytes(4)?;
    if *method == TUNE {
        let offered = rest.bytes(6)?;
        return Some(u32::from_be_bytes([offered[2], offered[3], offered[4], offered[5]]));
    }
    for argument in arguments(method[1], method[3]) {
        match argument {
            Text => rest.text()?,
            Bytes(length) => drop(rest.bytes(*length)?),
        }
    }
    None
}

/// The arguments up to the last text, of each method of the broker's that has one which others may have written.
const fn arguments(class: u8, method: u8) -> &'static [Argument] {
    match (class, method) {
        // connection.close and channel.close: code, text
        (10, 50) | (20, 40) => &[Bytes(2), Text],
        // connection.blocked; queue.declare-ok; basic.consume-ok, basic.cancel, basic.cancel-ok
        (10, 60) | (50, 11) | (60, 21 | 30 | 31) => &[Text],
        // basic.return: code, text, exchange, routing key
        (60, 50) => &[Bytes(2), Text, Text, Text],
        // basic.deliver: consumer, tag and redelivered, exchange, routing key
        (60, 60) => &[Text, Bytes(9), Text, Text],
        // basic.get-ok: tag and redelivered, exchange, routing key
        (60, 71) => &[Bytes(9), Text, Text],
        _ => &[],
    }
}
