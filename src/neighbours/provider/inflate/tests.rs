use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;

const LIMIT: usize = 1_000;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn what_servers_send_is_read() {
    let text = br#"{"code":0}"#;
    for (encoding, body) in [
        ("gzip", gzip(text)),
        ("X-GZIP", gzip(text)),
        (" gzip ", gzip(text)),
        ("deflate", zlib(text)),
        ("deflate", deflate(text)),
        ("identity", text.to_vec()),
        ("", text.to_vec()),
    ] {
        assert_eq!(inflate(encoding, body, LIMIT), Ok(text.to_vec()), "{encoding}");
    }
}

#[test]
fn the_limit_is_that_of_the_bytes_that_come_out() {
    let (fits, bomb) = (vec![b' '; LIMIT], vec![b' '; 100 * LIMIT]);
    for (encoding, pack) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib), ("deflate", deflate)] {
        assert_eq!(inflate(encoding, pack(&fits), LIMIT), Ok(fits.clone()), "{encoding}");
        assert!(pack(&bomb).len() < LIMIT);
        assert_eq!(inflate(encoding, pack(&bomb), LIMIT), Err(Fault::TooLarge), "{encoding}");
    }
}

#[test]
fn what_is_cut_or_of_another_kind_is_no_body() {
    let whole = gzip(&[7; 500]);
    for length in 0..whole.len() {
        let cut = inflate("gzip", whole[..length].to_vec(), LIMIT);
        assert!(cut == Err(Fault::Unreadable) || (length == 0 && cut == Ok(Vec::new())), "{length}: {cut:?}");
    }
    assert_eq!(inflate("gzip", b"{}".to_vec(), LIMIT), Err(Fault::Unreadable));
    for encoding in ["br", "zstd", "gzip, gzip", "compress", "?"] {
        assert_eq!(inflate(encoding, b"{}".to_vec(), LIMIT), Err(Fault::Encoding), "{encoding}");
    }
}
