//! The way between both: what is sent arrives after a while, and virtual time goes from one event to the next.

use p2pcopy::parts::protocol::Ecn;

use super::*;

impl Evil {
    /// One step of virtual time.
    pub(super) fn turn(&mut self) {
        self.collect();
        if self.patient && self.victim.session.is_working() {
            self.victim.wait_for_disk();
            self.drive();
            return;
        }
        let due = |way: &Way| way.front().map(|(at, ..)| *at);
        let own = match &self.punch {
            Some(punch) => punch.poll_timeout(),
            None => self.alive.then_some(self.spoke + ALIVE),
        };
        let next = [
            due(&self.to_victim),
            due(&self.to_evil),
            self.victim.session.poll_timeout(self.now),
            own,
        ];
        let next = next.into_iter().flatten().min().unwrap_or(self.now + ALIVE);
        self.now = next.max(self.now + Duration::from_micros(5));
        self.deliver();
        self.drive();
        self.hear();
    }

    fn drive(&mut self) {
        self.victim.session.handle_timeout(self.now);
        self.victim.attend();
    }

    /// Takes what the victim has to send.
    fn collect(&mut self) {
        let mut buf = Vec::new();
        while let Some(transmit) = self.victim.session.poll_transmit(self.now, &mut buf, 16) {
            if transmit.reach != Reach::Full {
                continue;
            }
            for datagram in buf.chunks(transmit.segment) {
                let arrival = (self.now + DELAY, transmit.path.remote, datagram.to_vec());
                self.to_evil.push_back(arrival);
            }
        }
        if let Some(punch) = &mut self.punch {
            punch.handle_timeout(self.now);
            while let Some(transmit) = punch.poll_transmit() {
                if transmit.reach == Reach::Full {
                    self.began.push(transmit.payload.clone());
                    let arrival = (self.now + DELAY, self.at, transmit.payload);
                    self.to_victim.push_back(arrival);
                }
            }
        }
    }

    fn deliver(&mut self) {
        let mut given = 0;
        while let Some((from, mut datagram)) = arrived(&mut self.to_victim, self.now) {
            let path = Path {
                local: 0,
                remote: from,
            };
            self.victim
                .session
                .handle_datagram(self.now, path, Ecn::NotEct, &mut datagram);
            given += 1;
            if given % BATCH == 0 {
                self.drive();
            }
        }
    }

    pub(super) fn hear(&mut self) {
        let before = self.heard.numbers.last().map_or(0, |range| range.end);
        let was_closed = self.heard.close.is_some();
        while let Some((to, datagram)) = arrived(&mut self.to_evil, self.now) {
            *self.heard.bytes.entry(to).or_default() += datagram.len() as u64;
            self.take(to, datagram);
        }
        if !self.alive || self.linked.is_none() {
            return;
        }
        let home = SocketAddr::from(EVIL);
        let challenged = self.heard.challenges[self.answered..].iter();
        let tokens: Vec<u64> = challenged.filter(|(to, _)| *to == home).map(|c| c.1).collect();
        self.answered = self.heard.challenges.len();
        for token in tokens {
            let elsewhere = std::mem::replace(&mut self.at, home);
            self.packet(&wire::response(token));
            self.at = elsewhere;
        }
        let news = self.heard.numbers.last().is_some_and(|range| range.end > before);
        match self.heard.close {
            Some(code) if !was_closed => self.packet(&wire::close(code, b"")),
            None if news => self.acknowledges(),
            None if self.now >= self.spoke + ALIVE => self.packet(&[wire::PING]),
            _ => {}
        }
    }

    fn take(&mut self, to: SocketAddr, mut datagram: Vec<u8>) {
        if let Some(punch) = &mut self.punch {
            let path = Path {
                local: 0,
                remote: VICTIM.into(),
            };
            punch.handle_datagram(self.now, path, &mut datagram);
            while let Some(event) = punch.poll_event() {
                if let PunchEvent::Connected { keys, .. } = event {
                    if let Some(Words::ToReveal(nonce, _)) = keys.comparison.as_ref().map(|c| &c.words) {
                        self.nonce = Some(*nonce);
                    }
                    self.linked = Some(Linked {
                        id: keys.local_cid,
                        sealer: Sealer::new(keys.cipher, keys.send.into(), keys.remote_cid),
                        opener: Opener::new(keys.cipher, keys.receive.into()),
                    });
                }
            }
        }
        let Some(linked) = &mut self.linked else { return };
        let Some(header) = Header::decode(&datagram).filter(|h| h.connection_id == linked.id) else {
            return;
        };
        // The punch is over when the victim sends a sealed packet.
        self.punch = None;
        let Some(plain) = linked.opener.open(&header, &mut datagram) else {
            panic!("the victim seals what does not open");
        };
        let plain = plain.to_vec();
        self.heard.note(header.number.value());
        for frame in Frames::new(&plain) {
            self.heard
                .frame(to, frame.expect("the victim keeps the layout"), &plain);
        }
    }
}

/// The next datagram that has arrived by `now`.
fn arrived(way: &mut Way, now: Time) -> Option<(SocketAddr, Vec<u8>)> {
    way.front().filter(|(at, ..)| *at <= now)?;
    way.pop_front().map(|(_, address, datagram)| (address, datagram))
}
