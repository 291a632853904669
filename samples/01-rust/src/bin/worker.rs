//! Something that works in the background: a line every five seconds.

use std::thread::sleep;
use std::time::Duration;

use greeter::greeting;

fn main() {
    for count in 1u64.. {
        println!("{} from the worker, line {count}", greeting("terminal"));
        sleep(Duration::from_secs(5));
    }
}
