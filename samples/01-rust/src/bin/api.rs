//! An HTTP server on 127.0.0.1:$PORT, with the standard library alone.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use std::{env, process};

use greeter::{greeting, path_of};

/// A request's head is no longer than this; what is longer is refused.
const MAX_HEAD_BYTES: usize = 16 * 1024;

fn main() -> io::Result<()> {
    let port: u16 = env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .expect("PORT is a number");
    // `bind` sets SO_REUSEADDR on Unix, so that a restart gets the port at once.
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("listening on 127.0.0.1:{port}");
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(answer) {
            eprintln!("a request was not answered: {error}");
        }
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let (status, text) = match read_path(&mut stream)?.as_deref() {
        Some("/health") => ("200 OK", "ok".to_owned()),
        Some("/") => (
            "200 OK",
            format!("{} (process {})", greeting("world"), process::id()),
        ),
        Some(_) => ("404 Not Found", "not found".to_owned()),
        None => ("400 Bad Request", "not HTTP".to_owned()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}\n",
        text.len() + 1
    )
}

fn read_path(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while head.len() < MAX_HEAD_BYTES {
        let count = stream.read(&mut chunk)?;
        head.extend_from_slice(&chunk[..count]);
        let path = path_of(&head);
        if path.is_some() || count == 0 {
            return Ok(path);
        }
    }
    Ok(None)
}
