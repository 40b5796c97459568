
#include "ngx_rtbus_stat.h"
#include "rtbus_ws.h"


/*
 * More than workers there can be, times the buses, with those that still leave.
 * The size of the zone must not depend on the configuration: a zone of another
 * size is a new one, and all counters would be back at 0.
 */
#define NGX_RTBUS_STAT_SLOTS    1024

/* two cache lines, since processors like to read them in pairs */
#define NGX_RTBUS_STAT_ALIGN    128
#define NGX_RTBUS_STAT_SLOT     ngx_align(sizeof(ngx_rtbus_stat_t),           \
                                          NGX_RTBUS_STAT_ALIGN)

/* servers of clusters, of all workers */
#define NGX_RTBUS_STAT_TABLE    1024

#define NGX_RTBUS_STAT_SIZE     (NGX_RTBUS_STAT_ALIGN                         \
                                 + NGX_RTBUS_STAT_SLOTS * NGX_RTBUS_STAT_SLOT \
                                 + NGX_RTBUS_STAT_TABLE                       \
                                   * sizeof(ngx_rtbus_stat_shard_t))

/* seconds after which a worker that is not heard of may be another process */
#define NGX_RTBUS_STAT_SILENCE  60

/* a clock that is wrong must not spoil the average: a day, in ms */
#define NGX_RTBUS_STAT_MAX_LAG  86400000

#define ngx_rtbus_stat_words(from, to)                                        \
    ((offsetof(ngx_rtbus_stat_t, to) - offsetof(ngx_rtbus_stat_t, from))      \
     / sizeof(ngx_atomic_t))


struct ngx_rtbus_stat_shared_s {
    ngx_atomic_t     generation;
    /* the slots follow at NGX_RTBUS_STAT_ALIGN, and the servers of clusters */
};


static ngx_int_t ngx_rtbus_stat_init(ngx_shm_zone_t *shm_zone, void *data);
static ngx_rtbus_stat_t *ngx_rtbus_stat_slot(ngx_rtbus_stat_shared_t *shared,
    ngx_uint_t i);
static ngx_rtbus_stat_shard_t *ngx_rtbus_stat_table(
    ngx_rtbus_stat_shared_t *shared);
static ngx_uint_t ngx_rtbus_stat_free(ngx_atomic_uint_t owner);
static ngx_uint_t ngx_rtbus_stat_is(ngx_rtbus_stat_t *stat, ngx_str_t *bus);
static ngx_uint_t ngx_rtbus_stat_gone(ngx_pid_t pid);
static ngx_atomic_uint_t ngx_rtbus_stat_started(ngx_pid_t pid);
static void ngx_rtbus_stat_add_words(ngx_atomic_t *sum, ngx_atomic_t *from,
    ngx_uint_t n);
static void ngx_rtbus_stat_health(ngx_rtbus_stat_total_t *total,
    ngx_rtbus_stat_t *stat);


const char *const
ngx_rtbus_stat_transports[NGX_RTBUS_STAT_TRANSPORTS] = {
    "websocket", "sse", "socketio", "polling"
};


static const char *const
ngx_rtbus_stat_captures[NGX_RTBUS_STAT_CAPTURES] = {
    "completed", "cancelled", "interrupted", "failed"
};


const char *const
ngx_rtbus_stat_bounds[NGX_RTBUS_STAT_LAGS] = {
    "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
    "1", "2.5", "5", "10", "30"
};


/* the same in ms; a clock of ms tells no 2.5 from 2 */

static const ngx_uint_t  ngx_rtbus_stat_lags[NGX_RTBUS_STAT_LAGS] = {
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000
};


static const char *const
ngx_rtbus_stat_kinds[NGX_RTBUS_STAT_KINDS] = {
    "live", "durable"
};


const char *const
ngx_rtbus_stat_links[NGX_RTBUS_STAT_LINKS] = {
    "pubsub", "command"
};


/* what health says of it */

static const char *const
ngx_rtbus_stat_troubles[NGX_RTBUS_STAT_TROUBLES] = {
    NULL, "Redis is not a master", "Redis has lost the function library"
};


static const char *const
ngx_rtbus_stat_results[NGX_RTBUS_STAT_RESULTS] = {
    "ok", "duplicate", "replied", "timeout", "gone", "forbidden", "invalid",
    "unavailable", "busy", "error"
};


static const char *const
ngx_rtbus_stat_closeds[NGX_RTBUS_STAT_CLOSEDS] = {
    "client", "gone", "shutdown", "too_slow", "no_room", "ping_timeout",
    "token_expired", "policy", "protocol_error", "unsupported_data",
    "invalid_payload", "too_big", "internal_error", "other"
};


static const char *const
ngx_rtbus_stat_refuseds[NGX_RTBUS_STAT_REFUSEDS] = {
    "origin", "unauthorized", "forbidden", "too_many_channels",
    "too_many_requests", "rate_limited", "unavailable", "timeout",
    "namespace", "method", "too_large", "unknown_event", "malformed", "other"
};


#define ngx_rtbus_metric(name, help, type, field)                             \
    { "rtbus_" name, help, NGX_RTBUS_METRIC_##type, NULL, NULL, 1,            \
      offsetof(ngx_rtbus_stat_total_t, field), 0 }

#define ngx_rtbus_metric_process(name, help, type, field)                     \
    { "rtbus_" name, help, NGX_RTBUS_METRIC_##type, NULL, NULL, 1,            \
      offsetof(ngx_rtbus_stat_total_t, field), 1 }

#define ngx_rtbus_metric_label(name, help, type, field, label, values)        \
    { "rtbus_" name, help, NGX_RTBUS_METRIC_##type, label, values,            \
      sizeof(values) / sizeof(char *),                                        \
      offsetof(ngx_rtbus_stat_total_t, field), 0 }


const ngx_rtbus_metric_t  ngx_rtbus_metrics[] = {

    ngx_rtbus_metric_process("workers",
        "Worker processes that serve new connections.",
        GAUGE, workers),

    ngx_rtbus_metric_process("leaving_workers",
        "Worker processes that say goodbye to their clients.",
        GAUGE, leaving),

    ngx_rtbus_metric_label("connections",
        "Open connections of clients.",
        GAUGE, sum.connections, "transport", ngx_rtbus_stat_transports),

    ngx_rtbus_metric_label("clients_opened_total",
        "Connections of clients that were let in.",
        COUNTER, sum.opened, "transport", ngx_rtbus_stat_transports),

    ngx_rtbus_metric_label("clients_closed_total",
        "Connections of clients that have ended.",
        COUNTER, sum.closed, "reason", ngx_rtbus_stat_closeds),

    ngx_rtbus_metric_label("refused_total",
        "Requests and messages of clients that were refused.",
        COUNTER, sum.refused, "reason", ngx_rtbus_stat_refuseds),

    ngx_rtbus_metric("channels",
        "Channels that workers are subscribed to, once per worker.",
        GAUGE, sum.channels),

    ngx_rtbus_metric("subscriptions",
        "Channels that clients have joined, once per client.",
        GAUGE, sum.subscriptions),

    ngx_rtbus_metric_label("events_received_total",
        "Events from Redis, once per worker that is subscribed.",
        COUNTER, sum.received, "kind", ngx_rtbus_stat_kinds),

    ngx_rtbus_metric_label("events_invalid_total",
        "Events from Redis that were dropped, once per worker.",
        COUNTER, sum.invalid, "reason", rtbus_reason_kinds),

    ngx_rtbus_metric_label("events_delivered_total",
        "Events handed to clients, once per client.",
        COUNTER, sum.delivered, "transport", ngx_rtbus_stat_transports),

    ngx_rtbus_metric("delivery_lag_seconds",
        "Age of events by their timestamp when handed out.",
        TIMES, sum.lag),

    ngx_rtbus_metric("send_queue_bytes",
        "Bytes that wait for clients to take them.",
        GAUGE, sum.send_queue),

    ngx_rtbus_metric("replays_total",
        "Times that a client was sent events that it had missed.",
        COUNTER, sum.replays),

    ngx_rtbus_metric("replayed_events_total",
        "Missed events that were sent to clients.",
        COUNTER, sum.replayed),

    ngx_rtbus_metric("gaps_total",
        "Times that a client was told of events that are lost.",
        COUNTER, sum.gaps),

    ngx_rtbus_metric("holes_total",
        "Holes in what was received that were filled from the stream.",
        COUNTER, sum.holes),

    ngx_rtbus_metric("full_turns_total",
        "Turns of the event loop that began with events that the one before "
        "could not deliver, and could not deliver all either.",
        COUNTER, sum.full_turns),

    ngx_rtbus_metric_label("commands_total",
        "Commands of clients.",
        COUNTER, sum.commands, "result", ngx_rtbus_stat_results),

    ngx_rtbus_metric("captures",
        "Answers of upstreams that are being captured.",
        GAUGE, sum.captures),

    ngx_rtbus_metric_label("captures_total",
        "Captured answers that have ended.",
        COUNTER, sum.captured, "status", ngx_rtbus_stat_captures),

    ngx_rtbus_metric("capture_events_total",
        "Events of captured answers.",
        COUNTER, sum.capture_events),

    ngx_rtbus_metric("capture_bytes_total",
        "Bytes of those events.",
        COUNTER, sum.capture_bytes),

    ngx_rtbus_metric("capture_claim_seconds",
        "Time until Redis has answered the claim of a channel.",
        TIMES, sum.claim),

    ngx_rtbus_metric("capture_leases_lost_total",
        "Answers whose worker was found to be gone.",
        COUNTER, sum.leases),

    ngx_rtbus_metric_label("redis_up",
        "Whether all workers are connected to Redis.",
        GAUGE, sum.redis_up, "link", ngx_rtbus_stat_links),

    ngx_rtbus_metric_label("redis_reconnects_total",
        "Connections to Redis that were made anew.",
        COUNTER, sum.reconnects, "link", ngx_rtbus_stat_links),

    ngx_rtbus_metric("canary_age_seconds",
        "Time since the last proof that events arrive, of the worst worker.",
        SECONDS, age),

    ngx_rtbus_metric("canary_lost_total",
        "Canaries that have not come back.",
        COUNTER, sum.canaries),

    ngx_rtbus_metric("failing_workers",
        "Worker processes not proven to get events, see rtbus_health.",
        GAUGE, failing),

    { NULL, NULL, NGX_RTBUS_METRIC_COUNTER, NULL, NULL, 0, 0, 0 }
};


ngx_rtbus_stat_zone_t *
ngx_rtbus_stat_zone(ngx_conf_t *cf, void *tag)
{
    size_t                  size;
    ngx_str_t               name;
    ngx_shm_zone_t         *shm_zone;
    ngx_rtbus_stat_zone_t  *zone;

    zone = ngx_pcalloc(cf->pool, sizeof(ngx_rtbus_stat_zone_t));
    if (zone == NULL) {
        return NULL;
    }

    ngx_str_set(&name, "rtbus_stat");

    /* what the pages are managed with takes some, too */

    size = ngx_align(NGX_RTBUS_STAT_SIZE, ngx_pagesize) + 8 * ngx_pagesize;

    shm_zone = ngx_shared_memory_add(cf, &name, size, tag);
    if (shm_zone == NULL) {
        return NULL;
    }

    shm_zone->init = ngx_rtbus_stat_init;
    shm_zone->data = zone;

    return zone;
}


static ngx_int_t
ngx_rtbus_stat_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_rtbus_stat_zone_t *old = data;

    ngx_slab_pool_t        *shpool;
    ngx_rtbus_stat_zone_t  *zone;

    zone = shm_zone->data;
    shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (old) {
        zone->shared = old->shared;

    } else if (shm_zone->shm.exists) {
        zone->shared = shpool->data;

    } else {
        zone->shared = ngx_slab_calloc(shpool, NGX_RTBUS_STAT_SIZE);
        if (zone->shared == NULL) {
            return NGX_ERROR;
        }

        shpool->data = zone->shared;
    }

    /* workers of this configuration are told from those of earlier ones */

    zone->generation = ++zone->shared->generation;

    return NGX_OK;
}


static ngx_rtbus_stat_t *
ngx_rtbus_stat_slot(ngx_rtbus_stat_shared_t *shared, ngx_uint_t i)
{
    return (ngx_rtbus_stat_t *) ((u_char *) shared + NGX_RTBUS_STAT_ALIGN
                                 + i * NGX_RTBUS_STAT_SLOT);
}


ngx_rtbus_stat_t *
ngx_rtbus_stat_attach(ngx_rtbus_stat_zone_t *zone, ngx_str_t *bus,
    ngx_uint_t first, ngx_cycle_t *cycle)
{
    ngx_uint_t          i;
    ngx_rtbus_stat_t   *stat;
    ngx_atomic_uint_t   owner;

    /* the one whose place this worker takes must be gone, whatever its id */

    for (i = 0; i < NGX_RTBUS_STAT_SLOTS; i++) {
        stat = ngx_rtbus_stat_slot(zone->shared, i);
        owner = stat->owner;

        if (owner && stat->generation == zone->generation
            && stat->number == ngx_worker && ngx_rtbus_stat_is(stat, bus)
            && ngx_atomic_cmp_set(&stat->owner, owner, ngx_pid))
        {
            goto found;
        }
    }

    for (i = 0; i < NGX_RTBUS_STAT_SLOTS; i++) {
        stat = ngx_rtbus_stat_slot(zone->shared, i);
        owner = stat->owner;

        if ((stat->generation == 0 || ngx_rtbus_stat_is(stat, bus))
            && ngx_rtbus_stat_free(owner)
            && ngx_atomic_cmp_set(&stat->owner, owner, ngx_pid))
        {
            goto found;
        }
    }

    /* what was counted for a bus that is no more is given up at last */

    for (i = 0; i < NGX_RTBUS_STAT_SLOTS; i++) {
        stat = ngx_rtbus_stat_slot(zone->shared, i);
        owner = stat->owner;

        if (stat->generation != zone->generation
            && ngx_rtbus_stat_free(owner)
            && ngx_atomic_cmp_set(&stat->owner, owner, ngx_pid))
        {
            stat->generation = 0;

            ngx_memzero((void *) stat->received,
                        offsetof(ngx_rtbus_stat_t, connections)
                        - offsetof(ngx_rtbus_stat_t, received));
            goto found;
        }
    }

    ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                  "rtbus: too many workers, this one is not in the status");

    return ngx_pcalloc(cycle->pool, sizeof(ngx_rtbus_stat_t));

found:

    ngx_log_debug2(NGX_LOG_DEBUG_CORE, cycle->log, 0,
                   "rtbus: stat slot:%ui was:%uA", i, owner);

    ngx_memzero((void *) stat->connections,
                offsetof(ngx_rtbus_stat_t, generation)
                - offsetof(ngx_rtbus_stat_t, connections));

    stat->heard = ngx_time();
    stat->started = ngx_rtbus_stat_started(ngx_pid);
    stat->canary = ngx_current_msec;
    stat->number = ngx_worker;
    stat->first = first;

    ngx_memzero(stat->bus, NGX_RTBUS_STAT_NAME);
    ngx_memcpy(stat->bus, bus->data, bus->len);

    stat->generation = zone->generation;

    return stat;
}


static ngx_uint_t
ngx_rtbus_stat_free(ngx_atomic_uint_t owner)
{
    return owner == 0 || ngx_rtbus_stat_gone((ngx_pid_t) owner);
}


static ngx_uint_t
ngx_rtbus_stat_is(ngx_rtbus_stat_t *stat, ngx_str_t *bus)
{
    return ngx_memcmp(stat->bus, bus->data, bus->len) == 0
           && (bus->len == NGX_RTBUS_STAT_NAME || stat->bus[bus->len] == '\0');
}


void
ngx_rtbus_stat_detach(ngx_rtbus_stat_t *stat)
{
    stat->owner = 0;
}


/* where there is a process of another user it is none of ours */

static ngx_uint_t
ngx_rtbus_stat_gone(ngx_pid_t pid)
{
    return kill(pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}


/*
 * When the process was started, in ticks since the system was: the 22nd field
 * of /proc/<pid>/stat, the 20th behind the name, which may have anything in
 * it.  0: the system does not tell; all that have the id are taken for the same
 * then.
 */

static ngx_atomic_uint_t
ngx_rtbus_stat_started(ngx_pid_t pid)
{
    ssize_t             n;
    u_char             *p, *last;
    ngx_fd_t            fd;
    ngx_uint_t          i;
    ngx_atomic_uint_t   ticks;
    u_char              name[sizeof("/proc//stat") + NGX_INT64_LEN];
    u_char              buf[1024];

    (void) ngx_sprintf(name, "/proc/%P/stat%Z", pid);

    fd = ngx_open_file(name, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        return 0;
    }

    n = ngx_read_fd(fd, buf, sizeof(buf));

    (void) ngx_close_file(fd);

    if (n <= 0) {
        return 0;
    }

    last = buf + n;

    for (p = last; p > buf && p[-1] != ')'; p--) { /* void */ }

    for (i = 0; i < 20; i++) {
        p = ngx_strlchr(p, last, ' ');

        if (p == NULL) {
            return 0;
        }

        p++;
    }

    ticks = 0;

    while (p < last && *p >= '0' && *p <= '9') {
        ticks = ticks * 10 + (*p++ - '0');
    }

    return ticks;
}


static ngx_rtbus_stat_shard_t *
ngx_rtbus_stat_table(ngx_rtbus_stat_shared_t *shared)
{
    return (ngx_rtbus_stat_shard_t *)
               ngx_rtbus_stat_slot(shared, NGX_RTBUS_STAT_SLOTS);
}


ngx_rtbus_stat_shard_t *
ngx_rtbus_stat_shard(ngx_rtbus_stat_zone_t *zone, ngx_rtbus_stat_t *stat,
    ngx_str_t *name)
{
    ngx_uint_t               i;
    ngx_atomic_uint_t        owner;
    ngx_rtbus_stat_shard_t  *shard;

    if (name->len > NGX_RTBUS_STAT_SHARD) {
        return NULL;
    }

    shard = ngx_rtbus_stat_table(zone->shared);

    for (i = 0; i < NGX_RTBUS_STAT_TABLE; i++, shard++) {
        owner = shard->owner;

        if (!ngx_rtbus_stat_free(owner)
            || !ngx_atomic_cmp_set(&shard->owner, owner, ngx_pid))
        {
            continue;
        }

        ngx_memzero((void *) shard->up, sizeof(shard->up));
        shard->canary = ngx_current_msec;

        ngx_memcpy(shard->bus, stat->bus, NGX_RTBUS_STAT_NAME);

        ngx_memzero(shard->name, NGX_RTBUS_STAT_SHARD);
        ngx_memcpy(shard->name, name->data, name->len);

        return shard;
    }

    return NULL;
}


ngx_uint_t
ngx_rtbus_stat_shards(ngx_rtbus_stat_zone_t *zone, ngx_str_t *bus,
    ngx_rtbus_stat_shard_t *shards)
{
    ngx_uint_t               i, j, k, n;
    ngx_msec_int_t           age;
    ngx_rtbus_stat_shard_t  *shard;

    n = 0;
    shard = ngx_rtbus_stat_table(zone->shared);

    for (i = 0; i < NGX_RTBUS_STAT_TABLE; i++, shard++) {

        if (shard->owner == 0
            || ngx_rtbus_stat_gone((ngx_pid_t) shard->owner)
            || (bus && ngx_strncmp(shard->bus, bus->data, bus->len) != 0)
            || (bus && bus->len < NGX_RTBUS_STAT_NAME
                && shard->bus[bus->len] != '\0'))
        {
            continue;
        }

        for (j = 0; j < n; j++) {
            if (ngx_memcmp(shards[j].name, shard->name, NGX_RTBUS_STAT_SHARD)
                == 0)
            {
                break;
            }
        }

        if (j == NGX_RTBUS_STAT_SHARDS) {
            continue;
        }

        age = (ngx_msec_int_t) (ngx_current_msec - shard->canary);
        age = ngx_max(age, 0);

        if (j == n) {
            shards[n] = *shard;
            shards[n].owner = 1;
            shards[n].canary = age;
            n++;
            continue;
        }

        shards[j].owner++;
        shards[j].canary = ngx_max(shards[j].canary, (ngx_atomic_uint_t) age);

        for (k = 0; k < NGX_RTBUS_STAT_LINKS; k++) {
            shards[j].up[k] &= shard->up[k];
        }
    }

    return n;
}


void
ngx_rtbus_stat_sum(ngx_rtbus_stat_zone_t *zone, ngx_str_t *bus,
    ngx_rtbus_stat_total_t *total)
{
    ngx_uint_t         i, links;
    ngx_rtbus_stat_t  *stat, *sum;

    ngx_memzero(total, sizeof(ngx_rtbus_stat_total_t));

    sum = &total->sum;
    links = 0;

    for (i = 0; i < NGX_RTBUS_STAT_SLOTS; i++) {
        stat = ngx_rtbus_stat_slot(zone->shared, i);

        if (stat->generation == 0
            || (bus && !ngx_rtbus_stat_is(stat, bus)))
        {
            continue;
        }

        ngx_rtbus_stat_add_words(sum->received, stat->received,
                                 ngx_rtbus_stat_words(received, connections));

        if (stat->owner == 0
            || ngx_rtbus_stat_gone((ngx_pid_t) stat->owner)
            || (ngx_time() - (time_t) stat->heard > NGX_RTBUS_STAT_SILENCE
                && stat->started
                   != ngx_rtbus_stat_started((ngx_pid_t) stat->owner)))
        {
            continue;
        }

        ngx_rtbus_stat_add_words(sum->connections, stat->connections,
                                 ngx_rtbus_stat_words(connections, leaving));

        links++;

        if (stat->leaving) {
            total->leaving += (bus || stat->first);
            continue;
        }

        total->workers += (bus || stat->first);

        ngx_rtbus_stat_health(total, stat);
    }

    for (i = 0; i < NGX_RTBUS_STAT_LINKS; i++) {
        sum->redis_up[i] = (links && sum->redis_up[i] == links);
    }

    if (total->workers == 0) {
        total->reason = "no worker";
    }
}


static void
ngx_rtbus_stat_health(ngx_rtbus_stat_total_t *total, ngx_rtbus_stat_t *stat)
{
    const char      *reason;
    ngx_msec_int_t   age;

    age = (ngx_msec_int_t) (ngx_current_msec - stat->canary);
    age = ngx_max(age, 0);

    total->age = ngx_max(total->age, (ngx_atomic_uint_t) age);

    if (stat->trouble) {
        reason = ngx_rtbus_stat_troubles[stat->trouble];

    } else if (!stat->redis_up[NGX_RTBUS_STAT_PUBSUB]
               || !stat->redis_up[NGX_RTBUS_STAT_COMMAND])
    {
        reason = "no connection to Redis";

    } else if (!stat->proven) {
        reason = "no canary has come back yet";

    } else if (age >= NGX_RTBUS_STAT_LATE) {
        reason = "the canary is late";

    } else {
        return;
    }

    total->failing++;

    if (total->reason == NULL) {
        total->reason = reason;
    }
}


static void
ngx_rtbus_stat_add_words(ngx_atomic_t *sum, ngx_atomic_t *from, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {
        sum[i] += from[i];
    }
}


void
ngx_rtbus_stat_closed(ngx_rtbus_stat_t *stat, ngx_rtbus_stat_closed_e label,
    ngx_uint_t code)
{
    ngx_uint_t  i;

    i = label;

    if (label != NGX_RTBUS_STAT_CLOSED_OTHER) {
        stat->closed[i]++;
        return;
    }

    switch (code) {

    case 0:
        i = NGX_RTBUS_STAT_CLOSED_GONE;
        break;

    case RTBUS_WS_NORMAL:
        i = NGX_RTBUS_STAT_CLOSED_CLIENT;
        break;

    case RTBUS_WS_PROTOCOL_ERROR:
        i = NGX_RTBUS_STAT_CLOSED_PROTOCOL;
        break;

    case RTBUS_WS_UNSUPPORTED:
        i = NGX_RTBUS_STAT_CLOSED_UNSUPPORTED;
        break;

    case RTBUS_WS_INVALID_PAYLOAD:
        i = NGX_RTBUS_STAT_CLOSED_PAYLOAD;
        break;

    case RTBUS_WS_POLICY:
        i = NGX_RTBUS_STAT_CLOSED_POLICY;
        break;

    case RTBUS_WS_TOO_BIG:
        i = NGX_RTBUS_STAT_CLOSED_BIG;
        break;

    case RTBUS_WS_INTERNAL:
        i = NGX_RTBUS_STAT_CLOSED_INTERNAL;
        break;

    case RTBUS_WS_RESTART:
        i = NGX_RTBUS_STAT_CLOSED_SHUTDOWN;
        break;

    case RTBUS_WS_TRY_LATER:
        i = NGX_RTBUS_STAT_CLOSED_SLOW;
        break;
    }

    stat->closed[i]++;
}


void
ngx_rtbus_stat_lag(ngx_rtbus_stat_t *stat, uint64_t timestamp)
{
    uint64_t     now;
    ngx_time_t  *tp;

    tp = ngx_timeofday();

    now = (uint64_t) tp->sec * 1000 + tp->msec;

    /* the producer's clock may be ahead of ours */

    ngx_rtbus_stat_time(stat->lag, (now > timestamp) ? now - timestamp : 0);
}


void
ngx_rtbus_stat_time(ngx_atomic_t *times, uint64_t ms)
{
    ngx_uint_t  i;

    ms = ngx_min(ms, NGX_RTBUS_STAT_MAX_LAG);

    for (i = 0; i < NGX_RTBUS_STAT_LAGS; i++) {
        if (ms <= ngx_rtbus_stat_lags[i]) {
            break;
        }
    }

    times[i]++;
    times[NGX_RTBUS_STAT_SUM] += (ngx_atomic_uint_t) ms;
}
