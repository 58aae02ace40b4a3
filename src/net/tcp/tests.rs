use std::net::Ipv4Addr;

use super::*;

/// A listener, the streams it accepted, and a stream to it.
struct Ends {
    streams: Streams,
    poller: Arc<Poller>,
    events: Events,
    client: TcpStream,
    heard: Vec<Vec<u8>>,
}

impl Ends {
    fn new() -> Ends {
        let poller = Arc::new(Poller::new().unwrap());
        let mut streams = Streams::new(Arc::clone(&poller));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        streams.listen(listener).unwrap();
        Ends {
            streams,
            poller,
            events: Events::new(),
            client: TcpStream::connect(at).unwrap(),
            heard: Vec::new(),
        }
    }

    /// Handles what is possible until `done`.
    fn until(&mut self, done: impl Fn(&Streams, &[Vec<u8>]) -> bool) {
        while !done(&self.streams, &self.heard) {
            self.events.clear();
            self.streams.turn(Time::ZERO);
            self.poller
                .wait(&mut self.events, Some(Duration::from_secs(20)))
                .unwrap();
            let heard = &mut self.heard;
            self.streams.handle(Time::ZERO, &self.events, |_, datagram| {
                heard.push(datagram.to_vec())
            });
        }
    }
}

#[test]
fn datagrams_arrive_one_by_one_however_tcp_cuts_them_and_go_back() {
    let mut ends = Ends::new();
    ends.client.set_nodelay(true).unwrap();
    let bytes = [&[0, 3][..], b"abc", &[0, 1], b"d", &[0x04, 0xb0], &[7; 1200]].concat();
    for (number, piece) in bytes.chunks(2).enumerate() {
        ends.client.write_all(piece).unwrap();
        if number == 1 {
            ends.until(|streams, _| !streams.streams.is_empty());
        }
    }
    ends.until(|_, heard| heard.len() == 3);
    assert_eq!(ends.heard, [b"abc".to_vec(), b"d".to_vec(), vec![7; 1200]]);
    let remote = ends.client.local_addr().unwrap();
    ends.streams.send(Time::ZERO, remote, b"first and last", 6);
    let mut back = [0; 20];
    ends.client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"\0\x06first \0\x06and la\0\x02st");
}

#[test]
fn lengths_that_no_datagram_has_close_the_stream() {
    for length in [0, LONGEST as u16 + 1] {
        let mut ends = Ends::new();
        ends.until(|streams, _| !streams.streams.is_empty());
        ends.client.write_all(&length.to_be_bytes()).unwrap();
        ends.until(|streams, _| streams.streams.is_empty());
        assert!(ends.heard.is_empty() && ends.streams.keys.is_empty());
    }
}

#[test]
fn what_a_peer_does_not_read_is_dropped_and_costs_no_memory() {
    let mut ends = Ends::new();
    ends.until(|streams, _| !streams.streams.is_empty());
    let remote = ends.client.local_addr().unwrap();
    for _ in 0..20_000 {
        ends.streams.send(Time::ZERO, remote, &[1; 1200], 1200);
    }
    let waiting = ends.streams.streams.values().map(|s| s.out.len()).max().unwrap();
    assert!(
        (MOST_WAITING - 1300..=MOST_WAITING + 2 * 60).contains(&waiting),
        "{waiting}"
    );
}

#[test]
fn of_too_many_streams_of_one_network_the_oldest_goes_for_each_that_comes() {
    let mut ends = Ends::new();
    let server = ends.client.peer_addr().unwrap();
    let mut more = Vec::new();
    // One by one: the system keeps few that wait to be accepted.
    for number in 0..MOST_OF_ONE_NETWORK + 2 {
        more.push(TcpStream::connect(server).unwrap());
        ends.until(|streams, _| streams.next_key > FIRST_STREAM + number + 1);
    }
    assert_eq!(ends.streams.streams.len(), MOST_OF_ONE_NETWORK);
    assert_eq!(ends.streams.keys.len(), MOST_OF_ONE_NETWORK);
    // All were heard at one moment. One that has just come has not had time to say anything.
    let oldest = ends.streams.streams.keys().min();
    assert_eq!(oldest, Some(&(FIRST_STREAM + 3)));
}

#[test]
fn silent_streams_go() {
    let mut ends = Ends::new();
    ends.until(|streams, _| !streams.streams.is_empty());
    ends.streams.turn(Time::ZERO + IDLE - Duration::from_secs(1));
    assert_eq!(ends.streams.streams.len(), 1);
    ends.streams.turn(Time::ZERO + IDLE);
    assert!(ends.streams.streams.is_empty());
    assert_eq!(ends.client.read(&mut [0]).unwrap(), 0, "the peer sees its end");
}

#[test]
fn a_stream_that_was_given_is_opened_again_as_often_as_it_breaks() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = listener.local_addr().unwrap();
    let poller = Arc::new(Poller::new().unwrap());
    let mut streams = Streams::new(Arc::clone(&poller));
    streams.door().give(TcpStream::connect(server).unwrap());
    let mut events = Events::new();
    let mut news = Vec::new();
    let mut now = Time::ZERO;
    let mut until = |streams: &mut Streams, last: StreamNews| {
        loop {
            streams.turn(now);
            news.extend(streams.poll_news().map(|(_, news)| news));
            if news.last() == Some(&last) {
                return std::mem::take(&mut news);
            }
            streams.send(now, server, b"hello", 5);
            events.clear();
            // Virtual time: a pause ends as soon as there is nothing else to do.
            let wait = Duration::from_millis(10);
            if poller.wait(&mut events, Some(wait)).unwrap() == 0 {
                now = streams.poll_timeout(now).unwrap_or(now).max(now);
            }
            streams.handle(now, &events, |_, _| {});
        }
    };
    let (taken, _) = listener.accept().unwrap();
    taken.shutdown(Shutdown::Both).unwrap();
    assert_eq!(
        until(&mut streams, StreamNews::Open),
        [StreamNews::Broken, StreamNews::Open]
    );
    let (mut silent, _) = listener.accept().unwrap();
    silent.write_all(b"\0\x01x").unwrap();
    assert_eq!(until(&mut streams, StreamNews::Back), [StreamNews::Back]);
    assert_eq!(
        until(&mut streams, StreamNews::Open),
        [StreamNews::Quiet, StreamNews::Broken, StreamNews::Open]
    );
    let (mut taken, _) = listener.accept().unwrap();
    taken.write_all(b"\0\x01x").unwrap();
    assert_eq!(until(&mut streams, StreamNews::Back), [StreamNews::Back]);
}
