#!/bin/sh
# Makes missing passwords and certificates: `secrets.sh FOLDER [NAME...]`, with the names of the NATS server.
# One folder for each reader. Where alerts go comes from ALERT_WEBHOOK_URL and WATCHDOG_WEBHOOK_URL, the key of S3 from
# AWS_SECRET_ACCESS_KEY.
set -eu
folder=$1
shift
umask 022 # the owner of the folder decides who may read
for reader in nats redis worker alertmanager grafana clients; do mkdir -p "$folder/$reader"; done

password() {
  [ -s "$1" ] || openssl rand -hex 24 >"$1"
  cat "$1"
}

[ -s "$folder/nats/server.key" ] || sh "$(dirname "$0")/nats/certificates.sh" "$folder/nats" "$@"
chmod 644 "$folder/nats/"*
for reader in worker clients; do cp "$folder/nats/ca.crt" "$folder/$reader/ca.crt"; done

for user in admin publisher follower operator monitoring; do
  printf 'NATS_USER=%s\nNATS_PASSWORD=%s\nNATS_INBOX_PREFIX=_INBOX_%s\n' \
    "$user" "$(password "$folder/nats/nats_$user")" "$user" >"$folder/clients/$user.env"
done
printf 'REDIS_URL=redis://reader:%s@localhost:6379/0\n' "$(password "$folder/redis/redis_reader")" >"$folder/clients/reader.env"
password "$folder/nats/nats_service" >"$folder/worker/nats_password"
printf 'redis://service:%s@redis:6379/0' "$(password "$folder/redis/redis_service")" >"$folder/worker/redis_url"
if [ -n "${AWS_SECRET_ACCESS_KEY:-}" ]; then echo "$AWS_SECRET_ACCESS_KEY" >"$folder/worker/aws_secret_access_key"; fi
password "$folder/grafana/admin_password" >/dev/null

nobody=http://127.0.0.1:9/ # nothing listens there
address() {
  [ -z "$2" ] || echo "$2" >"$1"
  [ -s "$1" ] || echo "$nobody" >"$1"
}
address "$folder/alertmanager/alert_webhook_url" "${ALERT_WEBHOOK_URL:-}"
address "$folder/alertmanager/watchdog_webhook_url" "${WATCHDOG_WEBHOOK_URL:-}"
