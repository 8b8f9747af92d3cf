//! A whole handshake and a packet, octet by octet. What is expected was computed by a second implementation, written from the formulas of section 5.4
//! with nothing in common with this one: fixed private keys (1.., 2..), ephemeral keys (3.., 4..), preshared key (5..), stamp and indices.

use std::sync::Arc;

use outwork_engine::Time;

use crate::mac::Signer;
use crate::message::{HEADER, Initiation, Message, Response};
use crate::noise::{Noise, Snow};
use crate::session::{Inner, Opener, Sealer};
use crate::stamp::Tai64N;
use crate::{Entropy, Index, PresharedKey, PrivateKey};

const INITIATION: &str = concat!(
    "01000000443322115dfedd3b6bd47f6fa28ee15d969d5bb0ea53774d488bdaf9df1c6e0124b3ef220a26599fb2188bb72327",
    "6fc173af67616c817fc32fd04d686d87ec152fac10eed2bda3bb3b6f1eded6977684082284d817fb46b3a99b6be3af273ed6",
    "e40273051a7ac46499931955dd6029feb2dedf5ff255cae19609bd4a0896f61000000000000000000000000000000000",
);
const RESPONSE: &str = concat!(
    "020000008877665544332211ac01b2209e86354fb853237b5de0f4fab13c7fcbf433a61c019369617fecf10bf27bb3060eb3",
    "1ff1e80d11431e25d14094dab39b78dac71e7b98d8728471333400000000000000000000000000000000",
);
const TRANSPORT: &str = concat!(
    "04000000887766550000000000000000caaa96b07653e5d5322d5925e5b442d6d23043dca0f75a0756ae3fa02413523f5005",
    "5de40bb3fc57e417102a93cc7413",
);
const MAC2: &str = "129420f61a2566170efa3de3573861af";

/// Always the same octet.
struct Fixed(u8);

impl Entropy for Fixed {
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        buffer.fill(self.0);
        true
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_handshake_and_a_packet_are_what_the_whitepaper_makes_them() {
    let [alice, bob] = [1, 2].map(|octet| PrivateKey::new([octet; 32]).unwrap());
    let psk = PresharedKey::new([5; 32]);
    let stamp = Tai64N([0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a, 0x12, 0, 0, 0]);
    let (alices, bobs) = (Index(0x1122_3344), Index(0x5566_7788));

    let (noise, mut begun) = Snow.begin(&alice, bob.public(), &psk, stamp, &mut Fixed(3)).unwrap();
    let mut initiation = Initiation::write(alices, &noise);
    Signer::new(bob.public()).sign(&mut initiation, None);
    assert_eq!(hex(&initiation), INITIATION);
    Signer::new(bob.public()).sign(&mut initiation, Some(&[7; 16]));
    assert_eq!(hex(&initiation[132..]), MAC2);

    let Ok(Message::Initiation(read)) = Message::read(&initiation) else { panic!() };
    let mut heard = Snow.hear(&bob, read.noise, &mut Fixed(4)).unwrap();
    assert_eq!((&heard.remote, heard.stamp), (alice.public(), stamp));
    let (noise, theirs) = heard.answer.answer(&psk).unwrap();
    let mut response = Response::write(bobs, alices, &noise);
    Signer::new(alice.public()).sign(&mut response, None);
    assert_eq!(hex(&response), RESPONSE);

    let ours = begun.finish(&noise).unwrap();
    let sealer = Sealer::new(&ours.seal, bobs, Time::ZERO, true, Arc::default()).unwrap();
    let mut packet = [6; 20];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 20]);
    let mut buffer = [0xff; 80];
    buffer[HEADER..HEADER + 20].copy_from_slice(&packet);
    let sealed = sealer.seal(Time::ZERO, &mut buffer, HEADER..HEADER + 20, 1420).unwrap();
    assert_eq!(hex(&buffer[sealed.datagram.clone()]), TRANSPORT);

    let opener = Opener::new(&theirs.open, bobs, Time::ZERO, false, Arc::default()).unwrap();
    let datagram = &mut buffer[sealed.datagram];
    let opened = opener.open(Time::ZERO, datagram).unwrap();
    assert_eq!((opened.inner, &datagram[opened.packet]), (Inner::V4, packet.as_slice()));
}
