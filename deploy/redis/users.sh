#!/bin/sh
# Writes the users of Redis, with the hashes of the passwords from the files redis_<user> in a folder: `users.sh SECRETS`.
set -eu
hash() {
  printf %s "$(cat "$1")" | sha256sum | cut -d ' ' -f 1
}
cat <<USERS
user default off
user service on #$(hash "$1/redis_service") ~task:* ~natscribe:* -@all +get +set +del +exists +ttl +expire +hget +hgetall +hset +zadd +zrem +zrange +time +eval +evalsha +script|load +ping +info +select +client|setinfo
user reader on #$(hash "$1/redis_reader") %R~task:* -@all +get +mget +exists +ttl +ping +select +client|setinfo
USERS
