//! Each algorithm with real keys, wherever they are kept; and what passes for one and is none.

use super::key::Secrets;
use super::*;

const PUBLIC: [&str; 11] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"];
const SECRETS: [&str; 3] = ["HS256", "HS384", "HS512"];

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(dir.join(name), content).unwrap();
}

/// Gates that have all public keys: as PEM, one a file, and as a set.
fn of_public_keys() -> [Gate; 2] {
    let (dir, signers) = (tempfile::tempdir().unwrap(), signers());
    write(dir.path(), "rsa", rsa_pem());
    for (name, key) in [("p256", &signers.p256), ("p384", &signers.p384), ("p521", &signers.p521)] {
        write(dir.path(), name, pem(key.public_key().as_der().unwrap().as_ref()));
    }
    write(dir.path(), "ed", pem(signers.ed.public_key().as_der().unwrap().as_ref()));
    write(dir.path(), "set", jwks().to_string());
    let files: Vec<_> = ["rsa", "p256", "p384", "p521", "ed"].map(|name| format!("'DIR/{name}'")).into();
    let files = Gate::new(dir.path(), &format!("[jwt_issuer.a]\npublic_keys = [{}]\n", files.join(",")));
    [files, Gate::new(dir.path(), "[jwt_issuer.a]\njwks_file = 'DIR/set'\n")]
}

#[test]
fn a_token_of_each_algorithm_is_verified_with_its_key_and_with_one_bit_changed_is_not() {
    let with_secret = Gate::secret("", "");
    let of_public = of_public_keys();
    let public = of_public.iter().flat_map(|gate| PUBLIC.map(|algorithm| (gate, algorithm)));
    for (gate, algorithm) in public.chain(SECRETS.map(|algorithm| (&with_secret, algorithm))) {
        let good = token(algorithm, &claims(json!({})));
        assert_eq!(gate.told(&good).as_deref(), Ok("ann"), "{algorithm}");
        let (message, signature) = good.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let forged = format!("{message}.{}", base64url(&bytes));
        assert_eq!(gate.refused(&forged), "the signature of the token is wrong", "{algorithm}");
        let other = unsigned(&json!({ "alg": algorithm }), &claims(json!({ "sub": "eve" })));
        assert_eq!(gate.refused(&format!("{other}.{signature}")), "the signature of the token is wrong", "{algorithm}");
        for cut in [String::new(), base64url(&bytes[1..]), base64url(&[&*bytes, &[0]].concat())] {
            assert_eq!(gate.refused(&format!("{message}.{cut}")), "the signature of the token is wrong", "{algorithm}");
        }
    }
}

#[test]
fn nothing_is_not_a_signature_however_it_is_spelled() {
    for gate in of_public_keys().iter().chain([&Gate::secret("", "")]) {
        for none in ["none", "None", "NONE", "nOnE", "", "HS1", "RS1", "ES256K", "hs256", "rs256"] {
            let token = format!("{}.", unsigned(&json!({ "alg": none }), &claims(json!({}))));
            assert_eq!(gate.refused(&token), "the token is signed in a way that is not taken", "{none}");
        }
    }
}

#[test]
fn a_public_key_is_no_secret_whatever_a_token_says_of_its_algorithm() {
    let (dir, der) = (tempfile::tempdir().unwrap(), signers().rsa.public_key().as_der().unwrap());
    write(dir.path(), "rsa", rsa_pem());
    let gate = Gate::new(dir.path(), "[jwt_issuer.a]\npublic_keys = ['DIR/rsa']\n");
    assert!(gate.told(&token("RS256", &claims(json!({})))).is_ok());
    let pem = rsa_pem();
    for known in [der.as_ref(), pem.as_bytes(), pem.trim_end().as_bytes()] {
        let message = unsigned(&json!({ "alg": "HS256" }), &claims(json!({})));
        let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, known), message.as_bytes());
        let forged = format!("{message}.{}", base64url(signature.as_ref()));
        assert_eq!(gate.refused(&forged), "the token is signed in a way that is not taken");
    }
    // Nor is a key that comes along in the token anybody's.
    let header = json!({ "alg": "EdDSA", "jwk": jwks()["keys"][4], "jku": "http://127.0.0.1:9/keys" });
    assert_eq!(
        gate.refused(&token_with(&header, &claims(json!({})))),
        "the token is signed in a way that is not taken"
    );
}

#[test]
fn algorithms_that_are_not_listed_are_not_taken_though_their_key_is_there() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "rsa", rsa_pem());
    let gate = Gate::new(dir.path(), "[jwt_issuer.a]\npublic_keys = ['DIR/rsa']\nalgorithms = ['PS256', 'RS512']\n");
    let taken: Vec<_> =
        PUBLIC.into_iter().filter(|algorithm| gate.told(&token(algorithm, &claims(json!({})))).is_ok()).collect();
    assert_eq!(taken, ["RS512", "PS256"]);
    let mut set = jwks();
    set["keys"][0]["alg"] = "RS256".into();
    write(dir.path(), "set", set.to_string());
    let gate = Gate::new(dir.path(), "[jwt_issuer.a]\njwks_file = 'DIR/set'\n");
    let of = |algorithm| gate.told(&token_with(&json!({ "alg": algorithm, "kid": "rsa" }), &claims(json!({}))));
    assert!(of("RS256").is_ok() && of("RS512").is_err() && of("PS256").is_err() && of("ES256").is_err());
}

#[test]
fn a_certificate_has_a_key_and_a_private_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["login.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    write(dir.path(), "certificate", certificate.pem());
    let gate = Gate::new(dir.path(), "[jwt_issuer.a]\npublic_keys = ['DIR/certificate']\n");
    let message = unsigned(&json!({ "alg": "EdDSA" }), &claims(json!({})));
    let signature = rcgen::SigningKey::sign(&key, message.as_bytes()).unwrap();
    assert!(gate.told(&format!("{message}.{}", base64url(&signature))).is_ok());
    let of_pem = |text: &str| key::Key::of_pem(text.as_bytes()).map(|keys| keys.len());
    assert_eq!(of_pem(&key.serialize_pem()), Err(KeyError::Private));
    assert_eq!(of_pem("no PEM at all"), Err(KeyError::None));
    assert_eq!(of_pem(&[rsa_pem(), certificate.pem()].concat()), Ok(2));
    assert_eq!(of_pem(&pem(b"no key")), Err(KeyError::Kind));
    assert!(matches!(of_pem("-----BEGIN PUBLIC KEY-----\n%%\n-----END PUBLIC KEY-----\n"), Err(KeyError::Pem(_))));
}

#[test]
fn keys_of_a_set_that_no_token_could_be_signed_with_are_passed_over() {
    let all = jwks();
    let read = |set: Json, secrets| key::Key::of_set(set.to_string().as_bytes(), secrets).map(|keys| keys.len());
    assert_eq!(read(all.clone(), Secrets::Refused), Ok(5));
    let one = |change: Json| {
        let mut key = all["keys"][0].clone();
        key.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!({ "keys": [key] })
    };
    assert_eq!(
        read(one(json!({ "use": "sig", "key_ops": ["verify"], "x5t": "?", "alg": "PS512" })), Secrets::Refused),
        Ok(1)
    );
    // A zero before a number changes nothing of it.
    let n = [&[0], &*URL_SAFE_NO_PAD.decode(all["keys"][0]["n"].as_str().unwrap()).unwrap()].concat();
    assert_eq!(read(one(json!({ "n": base64url(&n) })), Secrets::Refused), Ok(1));
    for unusable in [
        json!({ "use": "enc" }),
        json!({ "key_ops": ["encrypt"] }),
        json!({ "alg": "ES256" }),
        json!({ "alg": "none" }),
        json!({ "n": base64url(&[255; 128]) }),
        json!({ "n": base64url(&[255; 1025]) }),
        json!({ "n": "%" }),
        json!({ "n": null }),
        json!({ "e": "" }),
        json!({ "kty": "EC" }),
        json!({ "kty": "EC", "crv": "P-256", "x": base64url(&[1; 32]), "y": base64url(&[1; 32]) }),
        json!({ "kty": "EC", "crv": "P-256", "x": base64url(&[1; 31]), "y": base64url(&[1; 33]) }),
        json!({ "kty": "EC", "crv": "secp256k1" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(&[1; 31]) }),
        json!({ "kty": "OKP", "crv": "X25519", "x": base64url(&[1; 32]) }),
        json!({ "kty": 1 }),
        json!({ "kty": "oct", "k": "" }),
    ] {
        let refused = read(one(unusable.clone()), Secrets::Taken);
        assert!(matches!(refused, Err(KeyError::Unusable(Some(_)))), "{unusable}: {refused:?}");
        let mut both = all.clone();
        both["keys"].as_array_mut().unwrap().push(one(unusable)["keys"][0].clone());
        assert_eq!(read(both, Secrets::Taken), Ok(5));
    }
    let secret = json!({ "keys": [{ "kty": "oct", "k": base64url(SECRET) }] });
    assert_eq!(read(secret.clone(), Secrets::Taken), Ok(1));
    let told = read(secret, Secrets::Refused).unwrap_err().to_string();
    assert_eq!(told, "it has no key that could verify a token: key 0: it is a secret, which everybody can fetch");
    assert!(matches!(read(json!([]), Secrets::Refused), Err(KeyError::Set(_))));
    assert_eq!(read(json!({ "keys": vec![0; 129] }), Secrets::Refused), Err(KeyError::Many));
}

#[test]
fn a_key_by_its_id_is_the_only_one_that_a_token_is_tried_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "set", jwks().to_string());
    let gate = Gate::new(dir.path(), "[jwt_issuer.a]\njwks_file = 'DIR/set'\n");
    let of = |id: &str| token_with(&json!({ "alg": "ES256", "kid": id }), &claims(json!({})));
    assert!(gate.told(&of("P-256")).is_ok());
    assert_eq!(gate.refused(&of("rsa")), "the token is signed in a way that is not taken");
    assert_eq!(gate.refused(&of("another")), "the key of the token is not known");
}
