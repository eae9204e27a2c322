"""The error codes (`err_code`) of nats-server's JetStream API to which the client and the service react."""

NO_MESSAGE = 10037  # the stream has no such message
# A message was not deleted: the stream does not have it, is just dropping it, or does not allow deletion.
DELETE_FAILED = (10057, 10043)
QUEUE_FULL = 10077  # the stream accepts no more messages on this subject
STORAGE_FULL = (10023, 10047)  # the storage limit of the server or of the account is reached
STORE_FAILED = 10051  # JetStream could not write to its disk
