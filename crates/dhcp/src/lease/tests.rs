use super::*;
use outwork_engine::{Rng, sim};
use std::collections::BTreeMap;

fn lease(address: u32, client: &[u8], hardware: &[u8]) -> Lease {
    let mut chaddr = [0; 16];
    chaddr[..hardware.len()].copy_from_slice(hardware);
    Lease {
        address: address.into(),
        subnet: 7,
        starts: 100,
        expires: 200,
        state: State::Active,
        htype: 1,
        hlen: hardware.len() as u8,
        due: 0,
        chaddr,
        details: Details::pack([(Detail::ClientId, client), (Detail::HostName, b"host")]),
    }
}

fn written(lease: &Lease) -> Vec<u8> {
    let mut out = Vec::new();
    Change::write_lease(lease, &mut out);
    out
}

#[test]
fn details_come_back_by_name_and_what_is_empty_takes_no_room() {
    let details = Details::pack([
        (Detail::ClientId, &b"id"[..]),
        (Detail::HostName, b""),
        (Detail::Relay, &[1, 2, 3]),
        (Detail::Giaddr, &[10, 0, 0, 1]),
    ]);
    assert_eq!(details.get(Detail::ClientId), Some(&b"id"[..]));
    assert_eq!(details.get(Detail::HostName), None);
    assert_eq!(details.get(Detail::Relay), Some(&[1u8, 2, 3][..]));
    assert_eq!(details.bytes().len(), 4 + 5 + 6);
    assert_eq!(Details::pack([(Detail::HostName, &[b'x'; 300][..])]).get(Detail::HostName).unwrap().len(), 255);
    assert_eq!(Details::from_bytes(details.bytes()), Some(details));
    assert_eq!(Details::from_bytes(&[1, 4, 0]), None);
}

#[test]
fn a_client_is_its_identifier_else_its_hardware_address() {
    let with = lease(1, b"id", &[2, 0, 0, 0, 0, 1]);
    assert_eq!(with.client(), Client::Id(b"id"));
    let without = lease(1, b"", &[2, 0, 0, 0, 0, 1]);
    assert_eq!(without.client(), Client::Hardware(1, &[2, 0, 0, 0, 0, 1]));
}

#[test]
fn records_read_back_as_what_was_written() {
    sim::seeds(500, |rng: &mut Rng| {
        let mut bytes = [0; 64];
        rng.fill(&mut bytes);
        let mut one = lease(rng.next_u32(), &bytes[..rng.below(64) as usize], &bytes[..rng.below(17) as usize]);
        one.starts = rng.next_u32();
        one.expires = if rng.chance(0.2) { INFINITE } else { rng.next_u32() };
        one.subnet = rng.next_u32();
        one.state = State::from_wire(1 + rng.below(5) as u8).unwrap();
        assert_eq!(Change::read(&written(&one)), Ok(Change::Lease(one)));
        let id = rng.next_u64();
        let (mut forget, mut reserve, mut unreserve) = (Vec::new(), Vec::new(), Vec::new());
        Change::write_forget(7.into(), &mut forget);
        Change::write_reserve(id, b"{}", &mut reserve);
        Change::write_unreserve(id, &mut unreserve);
        assert_eq!(Change::read(&forget), Ok(Change::Forget(7.into())));
        assert_eq!(Change::read(&reserve), Ok(Change::Reserve(id, b"{}".to_vec())));
        assert_eq!(Change::read(&unreserve), Ok(Change::Unreserve(id)));
        let about_reservations = [&forget, &reserve, &unreserve].map(|record| Change::is_reservation(record));
        assert_eq!(about_reservations, [false, true, true]);
    });
}

#[test]
fn a_record_that_is_none_is_an_error_not_a_lease() {
    let good = written(&lease(1, b"id", &[2, 0, 0, 0, 0, 1]));
    for len in 0..good.len() {
        // The packed details may end after any whole one; everything else is needed.
        let whole = [good.len() - 6, good.len() - 6 - 4].contains(&len);
        assert_eq!(Change::read(&good[..len]).is_ok(), whole, "{len} bytes");
    }
    let mut bad = good.clone();
    bad[17] = 9;
    assert!(Change::read(&bad).is_err(), "state");
    bad = good.clone();
    bad[19] = 17;
    assert!(Change::read(&bad).is_err(), "hlen");
    let mut forget = Vec::new();
    Change::write_forget(7.into(), &mut forget);
    forget.push(0);
    assert!(Change::read(&forget).is_err(), "bytes behind");
    assert!(Change::read(&[200, 1, 2]).unwrap_err().to_string().contains("3-byte lease record of kind 200"));
    sim::seeds(2000, |rng: &mut Rng| {
        let mut bytes = vec![0; rng.below(80) as usize];
        rng.fill(&mut bytes);
        if let Some(kind) = bytes.first_mut() {
            *kind %= 6;
        }
        let _ = Change::read(&bytes);
    });
}

/// What the table is for, done slowly.
#[derive(Default)]
struct Model(BTreeMap<u32, Lease>);

impl Model {
    fn of_client(&self, client: Client<'_>) -> Vec<Ipv4Addr> {
        self.0.values().filter(|lease| lease.client() == client).map(|lease| lease.address).collect()
    }

    fn first_absent(&self, from: u32, to: u32) -> Option<Ipv4Addr> {
        (from..=to).find(|address| !self.0.contains_key(address)).map(Ipv4Addr::from)
    }
}

fn sorted(mut addresses: Vec<Ipv4Addr>) -> Vec<Ipv4Addr> {
    addresses.sort_unstable();
    addresses
}

#[test]
fn the_table_does_what_a_map_would() {
    sim::seeds(60, |rng: &mut Rng| {
        let (mut table, mut model) = (Table::new(rng.next_u64()), Model::default());
        // Around /24 borders and at the very end, so that everything meets.
        let bases = [0, 0x0a00_00f8, 0x0a00_01f8, u32::MAX - 15];
        let address = |rng: &mut Rng| bases[rng.below(4) as usize] + rng.below(16) as u32;
        for step in 0..600u32 {
            let at = address(rng);
            let id = [rng.below(6) as u8];
            match rng.below(10) {
                0..=4 => {
                    let mut new =
                        lease(at, if rng.chance(0.7) { &id } else { b"" }, &[2, 0, 0, 0, 0, rng.below(4) as u8]);
                    new.starts = step;
                    let (slot, old) = table.insert(new.clone());
                    assert_eq!(old, model.0.insert(at, new.clone()));
                    assert_eq!(table.get(slot), Some(&new));
                }
                5..=7 => assert_eq!(table.remove(at.into()), model.0.remove(&at)),
                _ => {
                    let slot = table.find(at.into());
                    assert_eq!(slot.is_some(), model.0.contains_key(&at));
                    if let (Some(slot), Some(own)) = (slot, model.0.get_mut(&at)) {
                        own.expires = step;
                        table.update(slot, |lease| lease.expires = step);
                    }
                }
            }
            assert_eq!((table.len(), table.is_empty()), (model.0.len(), model.0.is_empty()));
            assert_eq!(table.at(at.into()), model.0.get(&at));
            let of = table.of_client(Client::Id(&id)).map(|(_, lease)| lease.address).collect();
            assert_eq!(sorted(of), model.of_client(Client::Id(&id)));
            let hardware = [2, 0, 0, 0, 0, id[0]];
            let of = table.of_hardware(1, &hardware).map(|(_, lease)| lease.address).collect();
            let all = model.0.values().filter(|lease| lease.hardware() == hardware);
            assert_eq!(sorted(of), all.map(|lease| lease.address).collect::<Vec<_>>());
            let from = address(rng);
            assert!(table.range(from.into()).eq(model.0.range(from..).map(|(_, lease)| lease)));
            let to = from.saturating_add(rng.below(40) as u32);
            assert_eq!(table.first_absent(from.into(), to.into()), model.first_absent(from, to));
        }
    });
}

#[test]
fn a_full_block_is_stepped_over_and_the_last_address_ends_the_search() {
    let mut table = Table::new(1);
    for address in 0x0a00_0000..0x0a00_0300 {
        table.insert(lease(address, b"", &[1]));
    }
    let absent = |from: u32, to: u32, table: &Table| table.first_absent(from.into(), to.into()).map(u32::from);
    assert_eq!(absent(0x0a00_0005, 0x0a00_ffff, &table), Some(0x0a00_0300));
    assert_eq!(absent(0x0a00_0005, 0x0a00_02ff, &table), None);
    table.remove(0x0a00_01ff.into());
    assert_eq!(absent(0x0a00_0005, 0x0a00_ffff, &table), Some(0x0a00_01ff));
    assert_eq!(absent(0x0a00_0200, 0x0a00_02ff, &table), None);
    for address in 0xffff_ff00..=0xffff_ffff {
        table.insert(lease(address, b"", &[1]));
    }
    assert_eq!(absent(0xffff_ff80, u32::MAX, &table), None);
    table.remove(Ipv4Addr::BROADCAST);
    assert_eq!(absent(0xffff_ff80, u32::MAX, &table), Some(u32::MAX));
    assert_eq!(absent(9, 8, &table), None);
}

#[test]
fn a_lease_without_a_hardware_address_is_found_by_its_identifier_only() {
    let mut table = Table::new(1);
    table.insert(lease(1, b"a", &[]));
    table.insert(lease(2, b"b", &[]));
    assert_eq!(table.of_hardware(1, &[]).count(), 0);
    assert_eq!(table.of_client(Client::Id(b"b")).count(), 1);
    table.insert(lease(2, b"b", &[9]));
    assert_eq!(table.of_hardware(1, &[9]).count(), 1);
    table.remove(2.into());
    assert_eq!((table.of_hardware(1, &[9]).count(), table.len()), (0, 1));
}
