//! Bytes to and from Ethernet, ARP, IPv4, UDP and ICMP headers.
