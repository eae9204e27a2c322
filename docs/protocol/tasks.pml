/* How a task is granted, started, ended, retried, cancelled, deleted and replayed: a model for SPIN. See README.md.
 *
 * There is one task, with two task messages: M1, which a client has published, and M2, which a replay of the dead
 * letter of M1 publishes. Each `atomic` is a step: one change in NATS, and what the process that requested it decides
 * then. Between two steps anything may happen, as slowly as it likes. STEP: here the process may crash. A freeze is a
 * redelivery, or the loss of the lease, while the process that it hits goes on. Comments name the functions.
 */

#ifndef FAULTS
#define FAULTS 1             /* how many crashes, freezes and stops of workers there are */
#endif
#ifndef REQUESTS
#define REQUESTS 1           /* how often a client cancels or deletes the task, or the service fails it */
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef HOLDERS
#define HOLDERS 1            /* how many workers act as holders of the lease at the same time */
#endif
#ifndef REPLAYS
#define REPLAYS 0            /* whether an operator replays the dead letter */
#endif
#define M1 0
#define M2 1
#define NOBODY 2
#define STEP if :: faults > 0 -> faults--; goto crashed :: true fi

mtype = { none, scheduled, queued, running, retrying, completed, failed, cancelled };       /* states in the log */
mtype = { ready, pending, delayed };       /* of a grant: may be delivered; was delivered; was returned, for later */
mtype = { stored_now, stored_once };       /* of a dead letter: JetStream refuses to store it a second time */

typedef Record { byte seq; mtype state = none; bit owner; byte attempt; bool first } /* app/tasks/task_log/record.py Record */
typedef Outcome { mtype end = none; byte after; bit owner }        /* app/tasks/task_log/record.py StoredOutcome */

bool stored[2];              /* which task messages the task stream holds */
mtype grant[2] = none;       /* their grants in `transcription_ready`, as its consumer sees them */
mtype letter[2] = none;      /* their dead letters */
Record log;                  /* the last record of the task's log; sequence 0: the log is empty */
byte appended;               /* the last sequence of the stream of logs */
Outcome outcome;             /* the result (end: completed), or the note that there is none (failed, cancelled) */
byte replay_of;              /* header of M2: the sequence of the event `failed` of M1 */
bool due = true;             /* whether `not_before` is past */

byte working[2] = NOBODY;    /* which message each worker handles: its heartbeats keep the grant */
bool ticked;                 /* whether a worker has repeated `running`: once in a run is enough to fence others */
byte faults = FAULTS, requests = REQUESTS;
bool erasing, deleted;       /* a deletion erases the task; it has erased the log, last of all */
bool has_result[2];          /* whether a result of each message was ever stored */

#define ENDED(state) (state == completed || state == failed || state == cancelled)
#define SET(record, s, new, whose, n, is_first) record.seq = s; record.state = new; record.owner = whose; \
    record.attempt = n; record.first = is_first
#define COPY(from, to) SET(to, from.seq, from.state, from.owner, from.attempt, from.first)
#define CLEAR(record) SET(record, 0, none, 0, 0, false)
#define CLEAR_OUTCOME outcome.end = none; outcome.after = 0; outcome.owner = 0

#ifdef STALE_READ            /* a seeded mistake: a replica that lags behind by one change answers */
Record previous;
#define NOTE_PREVIOUS COPY(log, previous)
#define READ_LOG if :: COPY(log, last) :: COPY(previous, last) fi
#else
#define NOTE_PREVIOUS
#define READ_LOG COPY(log, last)
#endif
#ifdef NO_FENCE              /* a seeded mistake: appends without an expected sequence */
#define IS_CURRENT true
#else
#define IS_CURRENT (log.seq == last.seq)
#endif

/* app/storage/jetstream/stream_log.py StreamLog.append: compare-and-set. `last`: what the process has read or appended last */
inline append(new, whose, n) {
    ok = IS_CURRENT;
    if
    :: ok ->
        assert(new != running || (due && !deleted));            /* no start before its time, or after its deletion */
        assert(!ENDED(log.state) || (log.state == failed && whose > log.owner));       /* no end twice, only a replay */
        appended++;
        NOTE_PREVIOUS;
        SET(log, appended, new, whose, n, last.seq == 0);
        COPY(log, last)
    :: else
    fi
}

#define OR(label) if :: ok :: else -> goto label fi

/* app/tasks/queue/registration.py Registration._may_use_log */
#define MAY_USE_LOG (last.seq == 0 -> m == M1 : (m == M1 -> !ENDED(last.state) && !stored[M2] : \
    last.state == failed && last.seq == replay_of))

inline undo() {                         /* app/tasks/task_log/log.py TaskLog.undo */
    if :: log.seq == last.seq -> NOTE_PREVIOUS; CLEAR(log) :: else fi
}

/* app/tasks/task_log/record.py StoredOutcome.has_lapsed */
#define HAS_LAPSED (outcome.owner < last.owner || \
    (outcome.owner == last.owner && outcome.end != completed && outcome.after < last.seq))

inline read_outcome() {                 /* app/tasks/task_log/log.py TaskLog.outcome */
    end = (outcome.end == none || HAS_LAPSED || outcome.owner != last.owner -> none : outcome.end)
}

inline store_if_none(new) {
    ok = outcome.end == none;
    if
    :: ok ->
        outcome.end = new; outcome.owner = last.owner; outcome.after = (new == completed -> 0 : last.seq);
        if
        :: new == completed && !erasing -> assert(!has_result[last.owner]); has_result[last.owner] = true
        :: else
        fi
    :: else
    fi
}

inline store_outcome(new) {             /* app/tasks/task_log/log.py TaskLog._append_outcome */
    atomic { STEP; store_if_none(new) };
    if
    :: !ok && outcome.end != none && HAS_LAPSED ->
        atomic { STEP; if :: outcome.end != none && HAS_LAPSED -> CLEAR_OUTCOME :: else fi };
        atomic { STEP; store_if_none(new) }
    :: else
    fi
}

inline forbid_result() {                /* app/tasks/task_log/log.py TaskLog.forbid_result; `end`: how the task has to end */
    store_outcome(end);
    if :: ok :: else -> atomic { STEP; read_outcome() } fi
}

inline put_letter(whose) {              /* app/tasks/execution/settlement.py Settlement._store_dead_letter */
    atomic { STEP; if :: letter[whose] == none -> letter[whose] = stored_now :: else fi };
    atomic { STEP; if :: log.seq == 0 && letter[whose] == stored_now -> letter[whose] = stored_once :: else fi }
}

/* app/tasks/execution/attempt.py TaskAttempt.__init__ */
#define MAY_TRY_AGAIN ((last.state == running || last.state == retrying) && last.attempt < ATTEMPTS)
#define NEXT_ATTEMPT last.attempt + (MAY_TRY_AGAIN -> 1 : 0)

proctype Worker(byte id) {
    Record last;
    bit m;
    bool ok;
    mtype end = none;
idle:
    atomic {                            /* app/tasks/queue/task_slots.py TaskSlot.subscribe: pulls a grant */
        id == 0 || working[0] != NOBODY;            /* idle workers are alike: it is enough that the first one starts */
        if :: grant[M1] == ready -> m = M1 :: grant[M2] == ready -> m = M2 fi;
        grant[m] = pending; working[id] = m
    };
    atomic {                            /* app/tasks/queue/granted_task.py GrantReader.__call__, GrantReader.settle_unread */
        STEP;
        if
        :: !stored[m] -> goto acknowledge_grant
        :: stored[m] && !due -> goto delay_grant
        :: stored[m] && due && m == M1 -> goto register     /* Registration.register: the log of a new task is empty */
        :: else
        fi
    };
read_log:                               /* app/tasks/queue/registration.py Registration.register */
    atomic { STEP; READ_LOG; if :: (last.seq == 0 || last.first) && !stored[m] -> goto return_grant :: else fi };
register:                       /* app/tasks/queue/registration.py Registration._register, Registration._undo_if_deleted */
    atomic {
        STEP;
        if
        :: last.seq > 0 && last.owner == m -> goto begin
        :: (last.seq == 0 || last.owner != m) && MAY_USE_LOG -> append((due -> queued : scheduled), m, 1); OR(read_log)
        :: else -> goto acknowledge
        fi;
        if :: last.first && !stored[m] :: else -> goto begin fi
    };
    atomic { STEP; undo(); if :: log.seq == 0 -> goto return_grant :: else fi };

begin:          /* app/tasks/execution/beginning.py Beginning._check_previous_attempt, Beginning._wait_for_previous_worker */
    atomic {
        STEP;
        if
        :: ENDED(last.state) -> goto end_again
        :: last.state == running && log.seq != last.seq -> goto fenced
        :: last.first
        :: else -> read_outcome();      /* app/tasks/execution/attempt.py TaskAttempt.end_with_stored_outcome */
            if
            :: end != none -> goto append_end
            :: end == none && last.state == running && last.attempt == ATTEMPTS -> goto fail
            :: else
            fi
        fi
    };
    atomic {                            /* app/tasks/execution/attempt.py TaskAttempt.start */
        STEP; append(running, m, NEXT_ATTEMPT); OR(fenced)
    };

run_it:                                 /* handlers/task_middlewares.py AttemptMiddleware.consume_scope */
    atomic {
        STEP;
        if
        :: !ticked -> ticked = true;    /* app/tasks/execution/attempt.py TaskAttempt.tick */
            append(running, m, last.attempt); OR(fenced); goto run_it
        :: log.seq == last.seq          /* app/tasks/execution/attempt.py TaskAttempt.publish */
        :: log.seq != last.seq -> goto fenced
        :: goto attempt_failed
        :: faults > 0 -> faults--;      /* app/tasks/execution/settlement.py Settlement.release */
            append(queued, m, last.attempt); OR(crashed); goto return_grant
        fi
    };
#ifdef ACK_FIRST                        /* a seeded mistake */
    atomic { stored[m] = false; grant[m] = none };
#endif
    store_outcome(completed);
    atomic { STEP; OR(fenced); append(completed, m, last.attempt); OR(fenced); goto acknowledge };

attempt_failed:                         /* app/tasks/execution/settlement.py Settlement._read_own_log, _append */
    atomic { STEP; read_outcome() };
    if :: end != none -> atomic { STEP; read_outcome(); goto append_end } :: else fi;
    atomic {
        STEP;
        if
        :: last.attempt < ATTEMPTS -> append(retrying, m, last.attempt); OR(fenced); goto delay_grant
        :: goto fail
        fi
    };
fail:                                   /* app/tasks/execution/attempt.py TaskAttempt.fail */
    atomic { STEP; if :: log.seq != last.seq -> goto fenced :: else -> end = failed fi };
    forbid_result();
append_end:
    atomic { STEP; if :: end == none -> goto fenced :: else fi; append(end, m, last.attempt); OR(fenced) };
end_again:                              /* app/tasks/execution/settlement.py Settlement._settle */
    if :: last.state == failed -> put_letter(m) :: else fi;
acknowledge:                            /* app/tasks/execution/settlement.py Settlement._settle_grant */
    atomic { STEP; assert(erasing || log.owner != m || ENDED(log.state)); stored[m] = false };      /* no task lost */
acknowledge_grant:
    atomic { STEP; grant[m] = none; goto crashed };

fenced:                                 /* app/tasks/execution/settlement.py Settlement._read_log_of_others */
    atomic {
        STEP; COPY(log, last);
        if
        :: last.seq == 0 && stored[m] -> goto return_grant
        :: last.seq > 0 && last.owner == m && last.state == cancelled -> goto acknowledge_grant
        :: last.seq > 0 && last.owner == m && last.state != cancelled -> goto crashed
        :: else
        fi
    };
    atomic {                            /* app/tasks/execution/attempt.py TaskAttempt.clean_up */
        STEP;
        if :: outcome.owner == m -> CLEAR_OUTCOME :: else fi;
        if :: last.seq == 0 || last.state == cancelled -> goto acknowledge_grant :: else -> goto crashed fi
    };
return_grant:
    atomic { STEP; if :: grant[m] == pending -> grant[m] = ready :: else fi; goto crashed };
delay_grant:
    atomic { STEP; if :: grant[m] == pending -> grant[m] = delayed :: else fi; goto crashed };
crashed:                                /* also where the grant is settled, or JetStream will deliver it again */
    atomic { working[id] = NOBODY; m = 0; ok = false; end = none; CLEAR(last); goto idle }
}

/* A worker that has the lease, or believes so. With two of them, time may pass between choosing and granting. */
proctype Holder() {
    bit m;
    do
    :: atomic {                         /* app/tasks/queue/scheduler.py Scheduler._learn, Scheduler._audit_grants */
            if :: stored[M1] && grant[M1] == none -> m = M1 :: stored[M2] && grant[M2] == none -> m = M2 fi;
            if :: HOLDERS == 1 -> grant[m] = ready; m = 0 :: else fi
       };
       if
       :: HOLDERS == 1
       :: HOLDERS == 2 -> atomic {      /* app/tasks/queue/grants.py Grants.publish: JetStream refuses a second grant */
            if :: grant[m] == none -> grant[m] = ready :: else fi; m = 0 }
       fi
    od
}

/* Registers waiting tasks ahead. Once in a run it is so late that the message, which it has read, is gone. */
proctype Registrar() {
    Record last;
    bit m;
    bool ok, was_late;
idle:
    atomic {            /* app/tasks/queue/registration.py Registration.register_waiting, Registration._register_ahead */
        if
        :: stored[M1] && log.seq == 0 -> m = M1
        :: !stored[M1] && log.seq == 0 && !was_late -> m = M1; was_late = true
        :: stored[M1] && log.owner == M1 && log.state == scheduled && due -> m = M1
        :: stored[M2] && log.seq > 0 && log.seq == replay_of -> m = M2
        fi;
        COPY(log, last);
        append((due -> queued : scheduled), m, 1); if :: last.first && !stored[m] :: else -> goto crashed fi
    };
    atomic { STEP; undo() };            /* app/tasks/queue/registration.py Registration._undo_if_deleted */
crashed:
    atomic { m = 0; ok = false; CLEAR(last); goto idle }
}

/* What ends the task from outside: a request to cancel or delete it, or that it has waited too long. */
proctype Requests() {
    Record last;
    bool ok, is_delete;
    mtype goal = none, end = none;
idle:
    atomic {
        requests > 0 && log.seq > 0 -> requests--;
        if
        :: goal = cancelled                         /* app/requests/task_requests.py TaskRequests.cancel */
        :: goal = cancelled; is_delete = true       /* app/requests/task_requests.py TaskRequests.delete */
        :: goal = failed                            /* app/fleet/expiry.py Expiry.fail */
        fi
    };
read_log:                               /* app/requests/task_requests.py TaskRequests._cancel_unless_ended */
    atomic {
        STEP; COPY(log, last);
        if
        :: last.seq == 0 -> goto crashed
        :: last.seq > 0 && goal == failed && (last.state == running || ENDED(last.state)) -> goto crashed
        :: last.seq > 0 && goal == cancelled && ENDED(last.state) -> goto erase
        :: else -> end = goal
        fi
    };
    forbid_result();                    /* app/tasks/task_log/log.py TaskLog.end */
    atomic {
        STEP;
        if :: end == none -> ok = false :: else -> append(end, last.owner, last.attempt) fi;
        if :: ok :: !ok && goal == failed -> goto crashed :: else -> goto read_log fi
    };
    if :: goal == failed && end == failed -> put_letter(last.owner) :: else fi;
    if                                  /* app/tasks/queue/task_messages.py TaskMessages.remove */
    :: goal == failed || end != failed -> atomic { STEP; stored[last.owner] = false }
    :: else
    fi;
erase:                                  /* app/tasks/retention/erasure.py Erasure.erase */
    if
    :: is_delete ->
        atomic { erasing = true; STEP; stored[last.owner] = false };
        atomic { STEP; CLEAR_OUTCOME };
        atomic { STEP; letter[M1] = none; letter[M2] = none };
        atomic { STEP; NOTE_PREVIOUS; CLEAR(log); deleted = true; replay_of = 0 }
    :: else
    fi;
crashed:
    atomic { ok = false; is_delete = false; goal = none; end = none; CLEAR(last); goto idle }
}

/* An operator replays the dead letter of M1. */
proctype Operator() {
    byte seq;
    atomic { letter[M1] == stored_now && log.state == failed && log.owner == M1 -> seq = log.seq };
    atomic { STEP; stored[M2] = true; replay_of = seq };        /* app/tasks/dead_letters/replay.py Replayer._replay */
    atomic { STEP; if :: letter[M1] == stored_now -> letter[M1] = stored_once :: else fi };
crashed:
    seq = 0
}

#define IS_HANDLED(m) (working[0] == m || working[1] == m)
#define MAY_BE_READY(m) (grant[m] == delayed || (grant[m] == pending && (faults > 0 || !IS_HANDLED(m))))

/* Time passes: not_before, retry_at, ack_wait and the time to live of the lease, after crashes and freezes. */
proctype World() {
    bit m;
    do
    :: !due -> due = true
    :: atomic {
            if :: MAY_BE_READY(M1) -> m = M1 :: MAY_BE_READY(M2) -> m = M2 fi;
            if :: grant[m] == pending && IS_HANDLED(m) -> faults-- :: else fi;
            grant[m] = ready; m = 0
        }
    od
}

init {
    atomic {
        stored[M1] = true;              /* the publication by the client is acknowledged */
#ifdef SCHEDULED
        due = false;
#endif
        run Worker(0); run Worker(1); run Holder(); run Registrar(); run Requests(); run World();
        if :: HOLDERS == 2 -> run Holder() :: else fi;
        if :: REPLAYS -> run Operator() :: else fi
    };
    timeout ->                          /* nothing more will happen */
        assert(!stored[M1] && !stored[M2] && grant[M1] == none && grant[M2] == none);   /* no message waits for ever */
        assert(erasing || ENDED(log.state));                                            /* no task is lost, */
        assert(erasing || replay_of == 0 || log.owner == M2);                           /* nor its replay */
        assert(erasing || (log.state == completed) == (outcome.end == completed));      /* a result tells the end */
        assert(erasing || log.state != failed || letter[log.owner] != none)         /* a failed task can be replayed */
}

#ifdef LIVENESS
/* No message waits for ever, even if something else goes on for ever. Checked with weak fairness. */
ltl settled { <>[] (!stored[M1] && !stored[M2] && grant[M1] == none && grant[M2] == none) }
#endif
