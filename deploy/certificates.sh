#!/bin/sh
# Makes an authority and a certificate for each process of a topology, as its line `tls FOLDER` reads them:
# authorities.pem, and NAME.pem and NAME.key; and in FOLDER/identity what its line `identity FOLDER` reads: the key
# that the gateway signs callers with.  What is there stays: run again, it makes what is missing.
#     deploy/certificates.sh FOLDER [TOPOLOGY]        TOPOLOGY: deploy/many.conf unless another is given
# The authority's key, authority.key, belongs to whoever makes certificates, and into no container.
set -eu
umask 077
folder=${1:?usage: deploy/certificates.sh FOLDER [TOPOLOGY]}
topology=${2:-$(dirname "$0")/many.conf}
authority_days=3650
days=365
mkdir -p "$folder"

if [ ! -f "$folder/authority.key" ]; then
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/authority.key"
    openssl req -new -x509 -sha256 -days $authority_days -key "$folder/authority.key" -subj "/CN=Souk authority" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -out "$folder/authorities.pem"
fi

# The first name is who a process is to the others; the second is the host that they call, when it is another.
issue() {
    names="DNS:$1"
    [ "$2" = "$1" ] || case $2 in
        *[!0-9.]*) names="$names,DNS:$2" ;;
        *) names="$names,IP:$2" ;;
    esac
    openssl ecparam -name prime256v1 -genkey -noout -out "$folder/$1.key"
    printf '%s\n' "subjectAltName=$names" "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
        "extendedKeyUsage=serverAuth,clientAuth" "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" \
        >"$folder/$1.extensions"
    openssl req -new -sha256 -key "$folder/$1.key" -subj "/CN=$1" |
        openssl x509 -req -sha256 -days $days -CA "$folder/authorities.pem" -CAkey "$folder/authority.key" \
            -extfile "$folder/$1.extensions" -out "$folder/$1.pem.new" 2>/dev/null
    rm "$folder/$1.extensions"
    mv "$folder/$1.pem.new" "$folder/$1.pem"
}

# The raw 32 bytes stand at the end of an Ed25519 key's DER, secret and public alike.
raw() {
    tail -c 32 | basenc --base64url --wrap=0 | tr -d =
    echo
}

# A new key beside the old one's public half, so that both are believed while the gateways change over.
if [ ! -f "$folder/identity/gateway.key" ]; then
    mkdir -p "$folder/identity"
    openssl genpkey -algorithm ed25519 -outform DER -out "$folder/identity/new"
    openssl pkey -inform DER -in "$folder/identity/new" -pubout -outform DER | raw >>"$folder/identity/gateway.pub"
    raw <"$folder/identity/new" >"$folder/identity/gateway.key"
    rm "$folder/identity/new"
fi

# "process NAME SERVICES ADDRESS …": ADDRESS is HOST:PORT.
sed 's/#.*//' "$topology" | while read -r word name _ address _; do
    if [ "$word" = process ] && [ ! -f "$folder/$name.pem" ]; then
        issue "$name" "${address%:*}"
        echo "$folder/$name.pem"
    fi
done
