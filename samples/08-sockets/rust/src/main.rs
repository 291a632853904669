//! A web server that takes its socket from procwatch. It knows nothing of signals: SIGTERM ends it at once, and
//! procwatch sends that only when the new instance has taken over and what this one had begun has ended.

use std::io::{BufRead, BufReader, Result, Write};
use std::net::TcpStream;
use std::thread;

use listenfd::ListenFd;

const GREETING: &str = "Hello";

fn main() -> Result<()> {
    // The first socket of `listen`; without procwatch there is none, and it opens one itself.
    let listener = match ListenFd::from_env().take_tcp_listener(0)? {
        Some(listener) => listener,
        None => std::net::TcpListener::bind("127.0.0.1:8108")?,
    };
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || serve(stream));
    }
    Ok(())
}

/// Answer one request after the other, until the client has no more.
fn serve(stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let body = format!("{GREETING}, world (process {})\n", std::process::id());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.write_all((head + &body).as_bytes())?;
    }
}
