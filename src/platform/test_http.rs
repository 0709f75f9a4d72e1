//! An HTTP server for unit tests of clients, which has to say what no real server would.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers every connection with the same bytes; keeps what was asked.
pub(crate) struct Server {
    /// `http://` and its address.
    pub(crate) origin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// After the answer a connection is closed, or hangs.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>, then_hang: bool) -> Self {
        let answer = answer.into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                seen.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                let _ = stream.write_all(&answer).await;
                if then_hang {
                    std::future::pending::<()>().await;
                }
            }
        });
        Self { origin, asked }
    }

    /// The head of every request.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}
