#!/bin/sh
# Makes a certificate for development, and the authority that signs it: `certificates.sh FOLDER [NAME...]`.
# Clients trust ca.crt; the key of the authority is deleted, so that nobody can sign more with it.
set -eu
folder=$1
shift
names="DNS:localhost,IP:127.0.0.1"
for name in "$@"; do names="$names,DNS:$name"; done
ca_key=$(mktemp)
trap 'rm -f "$ca_key"' EXIT
mkdir -p "$folder"
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=Natscribe development" \
  -addext "keyUsage=critical,keyCertSign" -keyout "$ca_key" -out "$folder/ca.crt" 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=nats" \
  -CA "$folder/ca.crt" -CAkey "$ca_key" -addext "basicConstraints=critical,CA:FALSE" \
  -addext "subjectAltName=$names" -addext "extendedKeyUsage=serverAuth,clientAuth" \
  -keyout "$folder/server.key" -out "$folder/server.crt" 2>/dev/null
