// Configuration that empty pages show, kept in one place so that it stays what `outwork schema` accepts.

export const FIRST_SUBNET = `[[dhcp.subnet]]
id = 1
prefix = "192.0.2.0/24"
pools = [{ range = "192.0.2.100-192.0.2.199" }]`;

export const FIRST_LISTENER = `[[front.listener]]
address = "[::]:80"

[[front.route]]
path = "/*"
files = { root = "/srv/www" }`;

export const FIRST_CACHE = `[[front.route]]
path = "/*"
files = { root = "/srv/www" }
cache = { default_ttl = "1m" }`;

export const FIRST_FOLDER = `[[front.route]]
path = "/*"
files = { root = "/srv/www" }`;

export const FIRST_QUERY = `[web.database.shop]
url = "sqlite:/srv/shop.db"

[[front.route]]
path = "/api/products/{id}"
query = { database = "shop", sql = "SELECT * FROM product WHERE id = :id", params = { id = { type = "integer" } } }`;

export const FIRST_POOL = `[[front.route]]
path = "/api/*"
proxy = { pool = "app" }

[proxy.pool.app]
backend = [{ url = "http://192.0.2.11:8080" }, { url = "http://192.0.2.12:8080" }]
health_check = { path = "/healthz" }`;

export const FIRST_FORWARDED = `[[proxy.listener]]
address = ["[::]:5432"]
pool = "db"

[proxy.pool.db]
backend = [{ url = "tcp://192.0.2.21:5432" }, { url = "tcp://192.0.2.22:5432" }]
health_check = {}`;

export const FIRST_UPLINK = `[sdwan]
subnets = ["10.1.0.0/16"]

[sdwan.tunnel]
addresses = ["10.1.0.1/16"]

[[sdwan.uplink]]
name = "fibre"
interface = "eth1"
endpoint = "192.0.2.1:51820"

[[sdwan.uplink]]
name = "lte"
interface = "wwan0"
metered = true`;

export const FIRST_SHAPING = `[sdwan.qos]
enabled = true

[sdwan.qos.uplink.fibre]
rate = 95_000_000`;

export const FIRST_SITE = `[[sdwan.site]]
name = "north"
subnets = ["10.2.0.0/16"]

[[sdwan.site.uplink]]
name = "fibre"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
endpoint = "198.51.100.1:51820"`;

export const FIRST_PEER = `[[sdwan.peer]]
name = "phone"
public_key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
allowed_ips = ["10.99.0.2/32"]`;

export const FIRST_CERTIFICATE = `[[front.listener]]
address = "[::]:443"
tls = { acme = ["www.example.org"] }

[front.acme]
accept_terms = true`;
