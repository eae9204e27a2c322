#!/bin/sh
# Starts NATS with the passwords from the files nats_<user> in a folder: `start.sh SECRETS [OPTION...]`.
set -eu
secrets=$1
shift
for user in service admin publisher follower operator monitoring; do
  # In quotes, because the server would read some passwords as numbers.
  export "NATS_$(echo "$user" | tr '[:lower:]' '[:upper:]')_PASSWORD=\"$(cat "$secrets/nats_$user")\""
done
export NATS_CERTIFICATE="\"$secrets/server.crt\"" NATS_CERTIFICATE_KEY="\"$secrets/server.key\"" NATS_AUTHORITY="\"$secrets/ca.crt\""
export NATS_WEBSOCKET_PORT="${NATS_WEBSOCKET_PORT:-9222}" # of websocket.conf
exec nats-server --config "$(dirname "$0")/nats.conf" "$@"
