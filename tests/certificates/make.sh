#!/bin/sh
# Makes the fixtures anew; README.md says what each is. Needs OpenSSL 3 and python3.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { # name, algorithm...
    name=$1; shift
    openssl genpkey -algorithm "$@" -out "$work/$name.key" 2>/dev/null
}
issue() { # name, subject, extensions, issuer
    openssl req -new -key "$work/$1.key" -subj "$2" -out "$work/$1.csr"
    printf '%s\nsubjectKeyIdentifier=hash\n%s\n' "$3" "$([ "$1" = "$4" ] || echo authorityKeyIdentifier=keyid)" >"$work/ext"
    if [ "$1" = "$4" ]; then
        openssl x509 -req -in "$work/$1.csr" -signkey "$work/$1.key" -days 36500 -extfile "$work/ext" -out "$work/$1.crt" 2>/dev/null
    else
        openssl x509 -req -in "$work/$1.csr" -CA "$work/$4.crt" -CAkey "$work/$4.key" -CAcreateserial -days 36500 \
            -extfile "$work/ext" -out "$work/$1.crt" 2>/dev/null
    fi
}
ca=basicConstraints=critical,CA:TRUE
leaf=basicConstraints=CA:FALSE
p256='EC -pkeyopt ec_paramgen_curve:P-256'
key root $p256; issue root '/CN=Shop Root' $ca root
key intermediate $p256; issue intermediate '/CN=Shop Intermediate' $ca root
key leaf RSA -pkeyopt rsa_keygen_bits:2048; issue leaf /CN=shop.example $leaf intermediate

cat "$work/intermediate.crt" "$work/root.crt" >"$work/issuers.crt"
for name in root intermediate leaf; do cp "$work/$name.crt" "$name.pem"; done
cp "$work/leaf.key" leaf-key.pem
openssl rsa -in leaf-key.pem -traditional -out leaf-key-pkcs1.pem 2>/dev/null
openssl pkcs8 -topk8 -in leaf-key.pem -passout pass:shop -out leaf-key-encrypted.pem
cat leaf-key.pem root.pem intermediate.pem leaf.pem >root-first.pem

for curve in P-256 P-384 P-521 secp256k1; do
    key "$curve" EC -pkeyopt "ec_paramgen_curve:$curve"
    issue "$curve" "/CN=$curve.example" $leaf "$curve"
    cat "$work/$curve.key" "$work/$curve.crt" >"$curve.pem"
    openssl ecparam -name "$(openssl pkey -in "$work/$curve.key" -noout -text | sed -n 's/ASN1 OID: //p')" >"$work/parameters"
    { cat "$work/parameters"; openssl ec -in "$work/$curve.key" 2>/dev/null; cat "$work/$curve.crt"; } >"$curve-sec1.pem"
    { openssl ec -in "$work/$curve.key" -no_public 2>/dev/null; cat "$work/$curve.crt"; } >"$curve-sec1-private-only.pem"
done
key ed25519 ED25519; issue ed25519 /CN=ed25519.example $leaf ed25519
cat "$work/ed25519.key" "$work/ed25519.crt" >ed25519.pem

export_() { # name, options...
    name=$1; shift
    openssl pkcs12 -export -inkey leaf-key.pem -in leaf.pem -certfile "$work/issuers.crt" -passout pass: "$@" -out "$name.pfx"
}
old='-legacy -keypbe PBE-SHA1-3DES -macalg sha1'
export_ modern
export_ triple-des $old -certpbe PBE-SHA1-3DES -iter 2048
export_ triple-des-100000 $old -certpbe PBE-SHA1-3DES -iter 100000
export_ rc2-40 $old -certpbe PBE-SHA1-RC2-40 -iter 2000
export_ rc2-128 $old -certpbe PBE-SHA1-RC2-128 -iter 2000
export_ no-mac -nomac
export_ plain -keypbe NONE -certpbe NONE -nomac
export_ friendly-name -name 'Läden Nr. 1' -caname Zwischen -caname Wurzel
openssl pkcs12 -export -inkey leaf-key.pem -in leaf.pem -passout pass:shop -out password.pfx
openssl pkcs12 -export -nokeys -in leaf.pem -certfile "$work/issuers.crt" -passout pass: -out no-key.pfx

for place in 1 2 3 4 5 6 7; do
    cp "$work/root.key" "$work/other$place.key"; issue "other$place" "/CN=Other $place" $ca "other$place"
    cat "$work/other$place.crt" >>"$work/issuers.crt"
done
export_ ten

# The command line always has a password, if one without letters.
python3 - "$work" <<'P'
import ctypes, subprocess, sys
work = sys.argv[1]
lib = ctypes.CDLL("libcrypto.so.3")
def call(name, *arguments):
    function = getattr(lib, name)
    function.restype = ctypes.c_void_p
    return function(*arguments)
pointer = ctypes.c_void_p
provider = call("OSSL_PROVIDER_load", None, b"legacy"), call("OSSL_PROVIDER_load", None, b"default")
read = lambda path, name: call(name, pointer(call("BIO_new_file", path.encode(), b"r")), None, None, None)
key = read("leaf-key.pem", "PEM_read_bio_PrivateKey")
leaf = read("leaf.pem", "PEM_read_bio_X509")
issuers = call("OPENSSL_sk_new_null")
call("OPENSSL_sk_push", pointer(issuers), pointer(read("intermediate.pem", "PEM_read_bio_X509")))
pfx = call("PKCS12_create", None, None, pointer(key), pointer(leaf), pointer(issuers), 146, 146, 2000, 2000, 0)
out = call("BIO_new_file", b"absent-password.pfx", b"w")
assert call("i2d_PKCS12_bio", pointer(out), pointer(pfx))
call("BIO_free", pointer(out))
P

# OpenSSL before 3.4 does not write this kind of MAC (RFC 9579).
python3 - <<'P'
import hashlib, hmac
def der(tag, *parts):
    body = b"".join(parts)
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1, "big")
    return bytes([tag]) + (size if len(body) < 128 else bytes([128 + len(size)]) + size) + body
def inside(element):
    return element[2:] if element[1] < 128 else element[2 + element[1] - 128:]
def algorithm(oid, parameters):
    return der(48, der(6, bytes.fromhex(oid)), parameters)
pfx = inside(open("no-mac.pfx", "rb").read())
info = pfx[3:]
safe = inside(inside(inside(info)[11:]))
salt = b"shop.example"
hash = algorithm("2a864886f70d0209", b"\5\0")
kdf = algorithm("2a864886f70d01050c", der(48, der(4, salt), b"\2\2\x08\0", b"\2\1\x20", hash))
mac = hmac.digest(hashlib.pbkdf2_hmac("sha256", b"", salt, 2048, 32), safe, "sha256")
digest = der(48, algorithm("2a864886f70d01050e", der(48, kdf, hash)), der(4, mac))
open("pbmac1.pfx", "wb").write(der(48, pfx[:3], info, der(48, digest, der(4, b"unused"), b"\2\1\1")))
P
chmod 644 *.pem *.pfx
