-- Some of what this server speaks, by its number.
begin;
create table rfc (number integer primary key, title text not null, year integer not null) strict;
insert into rfc (number, title, year) values
    (1034, 'Domain Names - Concepts and Facilities', 1987),
    (2131, 'Dynamic Host Configuration Protocol', 1997),
    (2132, 'DHCP Options and BOOTP Vendor Extensions', 1997),
    (3046, 'DHCP Relay Agent Information Option', 2001),
    (8446, 'The Transport Layer Security (TLS) Protocol Version 1.3', 2018),
    (9000, 'QUIC: A UDP-Based Multiplexed and Secure Transport', 2021),
    (9110, 'HTTP Semantics', 2022),
    (9111, 'HTTP Caching', 2022),
    (9112, 'HTTP/1.1', 2022),
    (9113, 'HTTP/2', 2022),
    (9114, 'HTTP/3', 2022),
    (9204, 'QPACK: Field Compression for HTTP/3', 2022);
commit;
