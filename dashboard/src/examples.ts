// Configuration that empty pages show, kept in one place so that it stays what `outwork schema` accepts.

export const FIRST_SUBNET = `[[dhcp.subnet]]
id = 1
prefix = "192.0.2.0/24"
pools = [{ range = "192.0.2.100-192.0.2.199" }]`;
