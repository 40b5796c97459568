
/*
 * What Redis sends, over hiredis into the hub: replies and messages that were
 * cut anywhere, came late, came to the wrong command or were never valid, while
 * subscribers come and go and connections break.
 *
 * Above is a world of its own: two connections whose bytes the input decides
 * on, a clock, four channels, subscribers.  What has to hold, whatever Redis
 * says: no subscriber gets a durable event twice, out of order or behind a hole
 * that it was not told of, no client gets a live event twice that was forwarded
 * to other channels of it, and all memory is given back.  And all is the same
 * when the same bytes come in small pieces.
 *
 * Input: commands of one byte each, some with arguments; see step().
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>
#include <openssl/rand.h>
#include <sys/socket.h>
#include "ngx_rtbus_hub.h"
#include "ngx_rtbus_forward.h"


#define FUZZ_SUBS      8
#define FUZZ_CHANNELS  4
#define FUZZ_STEPS     400
#define FUZZ_TURNS     32
#define FUZZ_EVENTS    1024             /* more than one input makes */
#define FUZZ_TIME      8765432100000ull /* no other event has such a time */


typedef struct {
    ngx_connection_t         c;
    ngx_event_t              read;
    ngx_event_t              write;
    const uint8_t           *in;        /* what recv() will find */
    size_t                   left;
    unsigned                 eof:1;
} link_t;


typedef struct {
    ngx_rtbus_sub_t          sub;       /* the first member */
    rtbus_pos_t              pos;       /* of the last one it got */
    unsigned                 known:1;   /* pos is */
    unsigned                 used:1;
    unsigned                 full:1;    /* has no room */
    unsigned                 leave:1;   /* failed: leaves in the same turn */
} listener_t;


/* a frame has only a position in it */

typedef struct {
    rtbus_pos_t              event;
    rtbus_pos_t              channel;
    uint64_t                 number;    /* of one that was forwarded */
} mark_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t link_recv(ngx_connection_t *c, u_char *buf, size_t size);
static ssize_t link_send(ngx_connection_t *c, u_char *buf, size_t size);


/* what the files of nginx that are linked want of those that are not */

volatile ngx_cycle_t     *ngx_cycle;
ngx_uint_t                ngx_exiting;
ngx_pid_t                 ngx_pid;
ngx_int_t                 ngx_ncpu;
ngx_uint_t                ngx_worker;
ngx_uint_t                ngx_event_flags;
ngx_event_actions_t       ngx_event_actions;

static ngx_log_t          fuzz_log;
static ngx_cycle_t        fuzz_cycle;
static int                fuzz_socket;
static link_t            *fuzz_links[2];     /* pub/sub, command */
static ngx_rtbus_hub_t    fuzz_hub;
static ngx_rtbus_stat_t   fuzz_stat;
static listener_t         fuzz_subs[FUZZ_SUBS];

/* two listeners next to each other are of one client */

static uint8_t            fuzz_got[FUZZ_SUBS / 2][FUZZ_EVENTS];
static unsigned           fuzz_number;

static size_t             fuzz_piece;        /* bytes that one recv() brings */
static uint64_t           fuzz_trace;        /* of what the listeners saw */

static const char        *fuzz_names[FUZZ_CHANNELS] = { "a", "b", "job:1",
                                                        "user:x" };


static void
must(int cond)
{
    if (!cond) {
        abort();
    }
}


void
ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err,
    const char *fmt, ...)
{
    u_char   buf[4096];
    va_list  args;

    /* what the arguments are is looked at, at least */

    va_start(args, fmt);
    (void) ngx_vslprintf(buf, buf + sizeof(buf), fmt, args);
    va_end(args);

    must(level > NGX_LOG_ALERT);
}


void
ngx_log_abort(ngx_err_t err, const char *fmt, ...)
{
    abort();
}


void ngx_cdecl
ngx_conf_log_error(ngx_uint_t level, ngx_conf_t *cf, ngx_err_t err,
    const char *fmt, ...)
{
    abort();
}


ngx_int_t
ngx_event_get_peer(ngx_peer_connection_t *pc, void *data)
{
    return NGX_OK;
}


/* a place of a connection that is not made */

ngx_connection_t *
ngx_get_connection(ngx_socket_t s, ngx_log_t *log)
{
    link_t  *link;

    link = calloc(1, sizeof(link_t));
    must(link != NULL);

    link->c.fd = s;
    link->c.read = &link->read;
    link->c.write = &link->write;
    link->c.log = log;

    return &link->c;
}


ngx_int_t
ngx_event_connect_peer(ngx_peer_connection_t *pc)
{
    link_t             *link;
    ngx_event_t        *rev, *wev;
    ngx_connection_t   *c;

    link = calloc(1, sizeof(link_t));
    must(link != NULL);

    c = &link->c;
    rev = &link->read;
    wev = &link->write;

    c->fd = fuzz_socket;
    c->read = rev;
    c->write = wev;
    c->recv = link_recv;
    c->send = link_send;
    c->log = pc->log;
    c->pool = NULL;

    rev->data = c;
    rev->log = pc->log;
    wev->data = c;
    wev->log = pc->log;
    wev->write = 1;
    wev->ready = 1;

    fuzz_links[pc == &fuzz_hub.shards.one.cmd.conn.peer] = link;

    pc->connection = c;

    return NGX_OK;
}


void
ngx_close_connection(ngx_connection_t *c)
{
    ngx_uint_t   i;
    link_t      *link;

    link = (link_t *) c;

    if (link->read.timer_set) {
        ngx_del_timer(&link->read);
    }

    if (link->write.timer_set) {
        ngx_del_timer(&link->write);
    }

    if (link->read.posted) {
        ngx_delete_posted_event(&link->read);
    }

    if (link->write.posted) {
        ngx_delete_posted_event(&link->write);
    }

    for (i = 0; i < 2; i++) {
        if (fuzz_links[i] == link) {
            fuzz_links[i] = NULL;
        }
    }

    if (c->fd != fuzz_socket) {
        must(close(c->fd) == 0);
    }

    free(link);
}


ngx_int_t
ngx_handle_read_event(ngx_event_t *rev, ngx_uint_t flags)
{
    return NGX_OK;
}


ngx_int_t
ngx_handle_write_event(ngx_event_t *wev, size_t lowat)
{
    return NGX_OK;
}


ngx_int_t
ngx_tcp_nodelay(ngx_connection_t *c)
{
    return NGX_OK;
}


/* Redis has an address and no TLS here */

ngx_resolver_ctx_t *
ngx_resolve_start(ngx_resolver_t *r, ngx_resolver_ctx_t *temp)
{
    abort();
}


ngx_int_t
ngx_resolve_name(ngx_resolver_ctx_t *ctx)
{
    abort();
}


void
ngx_resolve_name_done(ngx_resolver_ctx_t *ctx)
{
    abort();
}


char *
ngx_resolver_strerror(ngx_int_t err)
{
    abort();
}


ngx_int_t
ngx_rtbus_redis_tls_handshake(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, void (*handler)(ngx_connection_t *c))
{
    abort();
}


const char *
ngx_rtbus_redis_tls_verify(ngx_connection_t *c, ngx_rtbus_redis_tls_t *tls,
    ngx_str_t *host, ngx_str_t *text)
{
    abort();
}


void
ngx_rtbus_redis_tls_close(ngx_connection_t *c)
{
    ngx_close_connection(c);
}


/* no memory is shared here */

ngx_shm_zone_t *
ngx_shared_memory_add(ngx_conf_t *cf, ngx_str_t *name, size_t size, void *tag)
{
    return NULL;
}


void *
ngx_slab_calloc(ngx_slab_pool_t *pool, size_t size)
{
    return NULL;
}


/* the mailbox has the same name each time, and so its place among the topics */

int
RAND_bytes(unsigned char *buf, int num)
{
    memset(buf, 0x55, num);

    return 1;
}


static ssize_t
link_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    link_t  *link;

    link = (link_t *) c;

    if (link->left == 0) {
        c->read->ready = 0;
        return link->eof ? 0 : NGX_AGAIN;
    }

    size = ngx_min(size, link->left);
    size = ngx_min(size, fuzz_piece);

    ngx_memcpy(buf, link->in, size);

    link->in += size;
    link->left -= size;

    return size;
}


static ssize_t
link_send(ngx_connection_t *c, u_char *buf, size_t size)
{
    return size;
}


/* bytes for one of the two connections, all read in this turn */

static void
feed(ngx_uint_t n, const uint8_t *p, size_t len, ngx_uint_t eof)
{
    link_t  *link;

    link = fuzz_links[n];

    if (link == NULL) {
        return;
    }

    link->in = p;
    link->left = len;
    link->eof = eof;
    link->c.read->ready = 1;

    while (fuzz_links[n] == link && link->c.read->ready
           && (link->left || link->eof))
    {
        link->c.read->handler(link->c.read);

        if (fuzz_links[n] == link && link->c.read->posted) {
            ngx_delete_posted_event(link->c.read);
        }
    }
}


static void
say(ngx_uint_t n, const char *text)
{
    feed(n, (const uint8_t *) text, strlen(text), 0);
}


/* a message on a channel, as Redis would send it */

static void
message(const char *channel, const uint8_t *p, size_t len, unsigned pattern)
{
    int      n;
    uint8_t  buf[1024];

    if (len > 512) {
        len = 512;
    }

    n = snprintf((char *) buf, sizeof(buf),
                 "%s$%zu\r\n%s\r\n$%zu\r\n",
                 pattern ? "*4\r\n$8\r\npmessage\r\n$1\r\n*\r\n"
                         : "*3\r\n$7\r\nmessage\r\n",
                 strlen(channel), channel, len);

    memcpy(buf + n, p, len);
    memcpy(buf + n + len, "\r\n", 2);

    feed(0, buf, n + len + 2, 0);
}


/* a durable event's wake-up */

static void
event(const char *channel, unsigned epoch, unsigned seq)
{
    int   n;
    char  buf[128];

    n = snprintf(buf, sizeof(buf), "{\"event\":\"e\",\"data\":1,\"id\":\"%u-%u\"}",
                 epoch, seq);

    message(channel, (uint8_t *) buf, n, 0);
}


/* an event that matches the rules, durable or live: once more for the pattern */

static void
forward(const char *channel, unsigned arg)
{
    int   n;
    char  buf[256];

    n = snprintf(buf, sizeof(buf),
                 "{\"event\":\"e\",\"data\":{\"u\":\"%s\",\"v\":\"%s\"},",
                 (arg & 1) ? "x" : "y", (arg & 2) ? "a" : "b");

    if (arg & 4) {
        n += snprintf(buf + n, sizeof(buf) - n, "\"id\":\"1-%u\"}", arg >> 3);

    } else {
        n += snprintf(buf + n, sizeof(buf) - n, "\"timestamp\":%llu}",
                      FUZZ_TIME + fuzz_number++);
        must(fuzz_number < FUZZ_EVENTS);
    }

    message(channel, (uint8_t *) buf, n, 0);
    message(channel, (uint8_t *) buf, n, 1);
}


/* the answer to XRANGE: entries of one epoch, one after the other */

static void
range(unsigned epoch, unsigned first, unsigned count)
{
    int       n, len;
    char      id[32];
    char      buf[4096];
    unsigned  i;

    n = snprintf(buf, sizeof(buf), "*%u\r\n", count);

    for (i = 0; i < count; i++) {
        len = snprintf(id, sizeof(id), "%u-%u", epoch, first + i);

        n += snprintf(buf + n, sizeof(buf) - n,
                      "*2\r\n$%d\r\n%s\r\n*4\r\n$5\r\nevent\r\n$1\r\ne\r\n"
                      "$4\r\ndata\r\n$1\r\n1\r\n", len, id);
    }

    feed(1, (uint8_t *) buf, n, 0);
}


/* the answer to XINFO STREAM */

static void
info(unsigned epoch, unsigned seq)
{
    int   len;
    char  id[32], buf[128];

    len = snprintf(id, sizeof(id), "%u-%u", epoch, seq);

    snprintf(buf, sizeof(buf),
             "*2\r\n$17\r\nlast-generated-id\r\n$%d\r\n%s\r\n", len, id);

    say(1, buf);
}


static void
trace(ngx_rtbus_sub_t *sub, unsigned kind, uint64_t a, uint64_t b)
{
    uint64_t    h;
    ngx_uint_t  i;

    uint64_t    values[] = { (listener_t *) sub - fuzz_subs, kind, a, b };

    h = fuzz_trace;

    for (i = 0; i < 4; i++) {
        h = (h ^ values[i]) * 1099511628211ull;
        h ^= h >> 29;
    }

    fuzz_trace = h;
}


static ngx_rtbus_frame_t *
encode(const ngx_rtbus_format_t *format, ngx_rtbus_msg_t *msg)
{
    mark_t              mark;
    ngx_rtbus_frame_t  *frame;

    frame = ngx_rtbus_frame_create(sizeof(mark_t));
    must(frame != NULL);

    mark.event = msg->event->pos;
    mark.channel = msg->pos;
    mark.number = msg->event->timestamp - FUZZ_TIME;

    memcpy(frame->data, &mark, sizeof(mark_t));

    return frame;
}


static void
deliver(ngx_rtbus_sub_t *sub, ngx_rtbus_frame_t *frame)
{
    mark_t       mark;
    uint8_t     *got;
    listener_t  *l;

    l = (listener_t *) sub;

    must(l->used && frame != NULL && frame->len == sizeof(mark_t));

    memcpy(&mark, frame->data, sizeof(mark_t));

    trace(sub, 1, mark.event.seq, mark.channel.seq);
    trace(sub, 2, mark.event.epoch, mark.number);

    if (mark.event.epoch == 0 && mark.event.seq == 0) {

        /* a live one: it moves nothing */

        must(!l->known || rtbus_pos_cmp(mark.channel, l->pos) == 0);

    } else {
        must(!l->known || rtbus_pos_next(l->pos, mark.event));
        must(rtbus_pos_cmp(mark.event, mark.channel) == 0);
    }

    l->pos = mark.channel;
    l->known = 1;

    if (mark.number < fuzz_number) {
        got = &fuzz_got[(l - fuzz_subs) / 2][mark.number];

        must(*got == 0);
        *got = 1;
    }
}


static ngx_rtbus_sub_t *
other(ngx_rtbus_sub_t *sub, ngx_rtbus_channel_t *ch)
{
    ngx_uint_t   i;
    listener_t  *l;

    l = fuzz_subs + ((listener_t *) sub - fuzz_subs) / 2 * 2;

    for (i = 0; i < 2; i++) {
        if (l[i].used && l[i].sub.ch == ch) {
            return &l[i].sub;
        }
    }

    return NULL;
}


/* a client that leaves a channel may get anew what it got there */

static void
forget(listener_t *l)
{
    memset(fuzz_got[(l - fuzz_subs) / 2], 0, FUZZ_EVENTS);
}


static void
gap(ngx_rtbus_sub_t *sub, uint64_t lost, rtbus_pos_t pos)
{
    listener_t  *l;

    l = (listener_t *) sub;

    must(l->used);

    trace(sub, 3, lost, pos.seq);

    l->pos = pos;
    l->known = 1;
}


static ngx_uint_t
room(ngx_rtbus_sub_t *sub, size_t size)
{
    return !((listener_t *) sub)->full;
}


static void
ready(ngx_rtbus_sub_t *sub)
{
}


static void
joined(ngx_rtbus_sub_t *sub)
{
    listener_t   *l;
    rtbus_pos_t   pos;

    l = (listener_t *) sub;

    must(ngx_rtbus_hub_position(sub, &pos) == NGX_OK);

    trace(sub, 4, pos.epoch, pos.seq);

    /* from here on it stands where its channel does */

    must(!l->known || rtbus_pos_cmp(l->pos, pos) == 0);

    l->pos = pos;
    l->known = 1;
}


static void
failed(ngx_rtbus_sub_t *sub)
{
    listener_t  *l;

    l = (listener_t *) sub;

    trace(sub, 5, 0, 0);

    ngx_rtbus_hub_leave(sub);
    l->used = 0;
    forget(l);
}


static const ngx_rtbus_format_t  format = { .encode = encode };

static const ngx_rtbus_sub_handlers_t  handlers = {
    .deliver = deliver,
    .gap = gap,
    .room = room,
    .ready = ready,
    .joined = joined,
    .failed = failed,
    .other = other
};


static void
join(listener_t *l, const char *name, unsigned arg)
{
    ngx_int_t    rc;
    ngx_str_t    channel;
    listener_t  *mate;

    if (l->used) {
        ngx_rtbus_hub_leave(&l->sub);
    }

    /* a client joins a channel once */

    mate = fuzz_subs + ((l - fuzz_subs) ^ 1);

    if (mate->used && mate->sub.ch->name.len == strlen(name)
        && memcmp(mate->sub.ch->name.data, name, strlen(name)) == 0)
    {
        ngx_rtbus_hub_leave(&mate->sub);
        mate->used = 0;
    }

    memset(l, 0, sizeof(listener_t));

    forget(l);

    l->used = 1;

    l->sub.handlers = &handlers;
    l->sub.format = &format;
    l->sub.data = l;
    l->sub.patient = arg & 1;
    l->sub.held = (arg >> 1) & 1;

    if (arg & 4) {
        l->sub.placed = 1;
        l->sub.pos.epoch = (arg & 8) ? 2 : 1;
        l->sub.pos.seq = arg >> 4;

        if (l->sub.pos.seq == 0) {
            l->sub.pos.epoch = 0;
        }

        l->pos = l->sub.pos;
        l->known = 1;
    }

    channel.data = (u_char *) name;
    channel.len = strlen(name);

    rc = ngx_rtbus_hub_join(&fuzz_hub, &l->sub, &channel);

    must(rc != NGX_ERROR);

    if (rc == NGX_DECLINED) {
        l->used = 0;
    }
}


static void
posted(void)
{
    ngx_uint_t  i;

    for (i = 0; i < FUZZ_TURNS && !ngx_queue_empty(&ngx_posted_events); i++) {
        ngx_event_process_posted(&fuzz_cycle, &ngx_posted_events);
    }
}


static void
later(unsigned ms)
{
    ngx_current_msec += ms;
    ((ngx_time_t *) ngx_cached_time)->sec += ms / 1000 + 1;

    ngx_event_expire_timers();
    posted();
}


static void
greet(ngx_uint_t n)
{
    posted();
    say(n, "+PONG\r\n+OK\r\n");
    posted();
}


/* confirms the SUBSCRIBE commands that are out */

static void
confirm(ngx_uint_t count)
{
    while (count--) {
        say(0, "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    }
}


static const uint8_t *
step(const uint8_t *p, const uint8_t *last)
{
    size_t       len;
    uint8_t      cmd, a, b;
    listener_t  *l;

    cmd = *p++;
    a = (p < last) ? *p++ : 0;
    b = (p < last) ? *p++ : 0;

    l = &fuzz_subs[a % FUZZ_SUBS];

    switch (cmd % 16) {

    case 0:                             /* any bytes */
    case 1:
        len = ngx_min((size_t) (last - p), (size_t) a);
        feed(cmd % 16, p, len, b & 1);
        p += len;
        break;

    case 2:                             /* any message */
        len = ngx_min((size_t) (last - p), (size_t) b);
        message(fuzz_names[a % FUZZ_CHANNELS], p, len, a & 0x80);
        p += len;
        break;

    case 3:
        if (a & 0x80) {
            forward(fuzz_names[a % FUZZ_CHANNELS], b);
            break;
        }

        event(fuzz_names[a % FUZZ_CHANNELS], 1 + (b >> 7), b & 0x7f);
        break;

    case 4:
        range(1 + (a >> 7), a & 0x7f, b % 40);
        break;

    case 5:
        info(1 + (a >> 7), b);
        break;

    case 6:
        join(l, fuzz_names[(a >> 3) % FUZZ_CHANNELS], b);
        break;

    case 7:
        if (l->used) {
            ngx_rtbus_hub_leave(&l->sub);
            l->used = 0;
            forget(l);
        }

        break;

    case 8:
        if (l->used && l->sub.held) {
            forget(l);
            (void) ngx_rtbus_hub_release(&l->sub);
        }

        break;

    case 9:
        l->full = b & 1;

        if (l->used && !l->full) {
            ngx_rtbus_hub_resume(&l->sub);
        }

        break;

    case 10:
        confirm(a % 8);
        break;

    case 11:
        greet(a & 1);
        break;

    case 12:                            /* an error in place of an answer */
        say(a & 1, (b & 1) ? "-ERR no such key\r\n" : "-WRONGTYPE x\r\n");
        break;

    case 13:                            /* the function library */
        say(1, (a & 1) ? "$5\r\nrtbus\r\n" : ":1\r\n");
        break;

    case 14:
        later(a * 40);
        break;

    case 15:
        ngx_rtbus_redis_conn_fail((a & 1) ? &fuzz_hub.shards.one.cmd.conn
                                          : &fuzz_hub.shards.one.sub.conn, "test");
        break;
    }

    posted();

    return p;
}


static void
begin(void)
{
    ngx_uint_t                      i;
    ngx_conf_t                      cf;
    static int                      fds[2];
    static ngx_addr_t               addr;
    static struct sockaddr          sa;
    static ngx_array_t             *rules;
    static ngx_rtbus_redis_conf_t   conf;
    static ngx_rtbus_redis_node_t   node;

    static ngx_str_t                texts[] = {
        ngx_string("job:*"), ngx_string("user:{u}"),
        ngx_string("*"), ngx_string("{v}")
    };

    if (ngx_cycle == NULL) {
        ngx_cycle = &fuzz_cycle;
        fuzz_cycle.reusable_connections_n = 1;
        fuzz_cycle.log = &fuzz_log;
        fuzz_log.log_level = NGX_LOG_DEBUG_ALL|NGX_LOG_INFO;

        must(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        fuzz_socket = fds[0];

        ngx_pagesize = 4096;
        ngx_cacheline_size = 64;

        ngx_time_init();
        must(ngx_crc32_table_init() == NGX_OK);

        addr.sockaddr = &sa;
        addr.socklen = sizeof(sa);
        ngx_str_set(&addr.name, "redis");

        node.addrs = &addr;
        node.naddrs = 1;

        ngx_str_set(&conf.name, "redis");

        conf.nodes = &node;
        conf.nnodes = 1;
        conf.connect_timeout = 1000;
        conf.command_timeout = 2000;
        ngx_str_set(&conf.name, "redis");

        memset(&cf, 0, sizeof(ngx_conf_t));
        cf.pool = ngx_create_pool(1024, &fuzz_log);
        must(cf.pool != NULL);

        for (i = 0; i < 4; i += 2) {
            must(ngx_rtbus_forward_rule(&cf, &rules, &texts[i], &texts[i + 1])
                 == NGX_OK);
        }
    }

    ngx_current_msec = 1000000;

    ngx_queue_init(&ngx_posted_accept_events);
    ngx_queue_init(&ngx_posted_next_events);
    ngx_queue_init(&ngx_posted_events);

    must(ngx_event_timer_init(&fuzz_log) == NGX_OK);

    srandom(1);

    memset(&fuzz_hub, 0, sizeof(ngx_rtbus_hub_t));
    memset(fuzz_subs, 0, sizeof(fuzz_subs));
    memset(fuzz_got, 0, sizeof(fuzz_got));
    fuzz_number = 0;

    memset(&fuzz_stat, 0, sizeof(ngx_rtbus_stat_t));

    fuzz_hub.redis = &conf;
    fuzz_hub.stat = &fuzz_stat;
    fuzz_hub.max_event = 300;
    fuzz_hub.functions = 1;
    fuzz_hub.rules = rules;
    ngx_str_set(&fuzz_hub.prefix, "");

    must(ngx_rtbus_hub_init(&fuzz_hub, &fuzz_log) == NGX_OK);

    later(0);
}


/* no channel is left but the mailbox */

static ngx_uint_t
alone(void)
{
    return fuzz_hub.shards.one.sub.topics.n == 1;
}


static void
end(ngx_uint_t linger)
{
    ngx_uint_t  i;

    for (i = 0; i < FUZZ_SUBS; i++) {
        if (fuzz_subs[i].used) {
            ngx_rtbus_hub_leave(&fuzz_subs[i].sub);
        }
    }

    /* at the end of a worker channels may linger still */

    if (linger) {
        later(6000);
        must(alone());
    }

    ngx_rtbus_hub_close(&fuzz_hub);

    must(fuzz_links[0] == NULL && fuzz_links[1] == NULL);
    must(ngx_event_find_timer() == NGX_TIMER_INFINITE);
}


static uint64_t
play(const uint8_t *data, size_t size, size_t piece)
{
    int             i;
    const uint8_t  *p, *last;

    fuzz_piece = piece;
    fuzz_trace = 0;

    begin();

    p = data;
    last = data + size;

    /* most have to begin with connections that are up */

    if (p < last && (*p & 0x80)) {
        greet(0);
        greet(1);
        say(1, "$5\r\nrtbus\r\n:99\r\n");
        confirm(2);
        say(1, ":1\r\n");          /* to the canary */
    }

    for (i = 0; i < FUZZ_STEPS && p < last; i++) {
        p = step(p, last);
    }

    end(size & 1);

    return fuzz_trace;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t  whole;

    whole = play(data, size, (size_t) -1);

    if (size) {
        must(whole == play(data, size, 1 + data[size - 1] % 37));
    }

    return 0;
}
