//! What both binaries share. Change the text here and save.

/// The words that `api` answers with and `worker` prints.
pub fn greeting(name: &str) -> String {
    format!("Hello, {name}")
}

/// The path of an HTTP request's head, or `None` if it is not (yet) one.
pub fn path_of(head: &[u8]) -> Option<String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(status) if status.is_complete() => request.path.map(str::to_owned),
        _ => None,
    }
}
