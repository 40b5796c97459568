
/*
 * A demo producer for ngx_http_rtbus_module: a "language model" that answers
 * prompts with nonsense, token by token.
 *
 *     producer [--redis host:port|/path/to/socket] [--rate tokens/s]
 *              [--name name]
 *
 * It takes the commands of clients, which nginx adds to the Redis stream
 * "rtbus:commands", as one of the consumer group "demo":
 *
 *     job:start:v1    {jobId,prompt}
 *     task:cancel:v1  {jobId}
 *
 * and for each job it publishes on the channel "job:<id>"
 *
 *     model:start:v1     {jobId,userId,total}
 *     model:chunk:v1     {jobId,userId,chunk,index,total,offset}
 *     task:progress:v1   {jobId,progress,status,message}       every 10 %
 *     model:complete:v1  {jobId,userId,text,tokens,duration}
 *
 * (or job:cancelled:v1, model:error:v1), keeps the hash "{job:<id>}:state" and
 * grows the string "{job:<id>}:output".  "index" counts the tokens from 1 to
 * "total"; "offset" is how many bytes of output come before the token, so that
 * one who has read the output so far knows which tokens are in it already.
 *
 * One event and what it changes in the state is one call of the function
 * rtbus_publish (conf/rtbus.lua), see publish_event(): the event is durable.
 * So when Redis goes away and comes back, the state itself tells where each
 * answer stands, and the job goes on from there: no event is missing, and none
 * comes twice.  Its field "step" counts the events of the producer, for others
 * may publish on the channel as well.
 *
 * A job:start:v1 is acknowledged (XACK) when the job is over, not before.  A
 * producer that was killed, and is started again under the same name, is given
 * what it has not acknowledged, and goes on with it.  With several producers,
 * each under a name of its own, each job is done by one of them; a cancel may
 * be read by another one, which leaves the key "{job:<id>}:cancel", and who
 * does the job looks for that with each token.
 *
 * nginx loads the function when it connects to Redis.  A producer that is
 * there first says so, and waits for it.
 *
 * One thread, one poll() loop, two connections: the one that reads commands is
 * blocked while there are none.
 */


#define _GNU_SOURCE

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <hiredis/async.h>
#include <yajl/yajl_tree.h>


#define STREAM            "rtbus:commands"
#define GROUP             "demo"
#define BLOCK_MS          "2000"        /* a read waits that long */
#define KEEP_SECONDS      "86400"       /* of what has no event yet */

#define MAX_JOBS          1000
#define MAX_DATA          65536
#define MAX_PENDING       256           /* unanswered events of one job */
#define MAX_TRIES         30            /* in a row, until a job fails */

#define CONNECT_TIMEOUT   2000000       /* all times are microseconds */
#define REPLY_TIMEOUT     5000000
#define MIN_BACKOFF       100000
#define MAX_BACKOFF       5000000
#define RETRY_DELAY       1000000


/* a growing string; once it has failed, all further writes are ignored */

typedef struct {
    char               *data;
    size_t              len;
    size_t              size;
    unsigned            failed:1;
} buf_t;


/* the "field value ..." part of HSET; the strings belong to the caller */

typedef struct {
    const char         *argv[32];
    size_t              len[32];
    int                 n;

    char                numbers[16][24];
    int                 nnumbers;
} fields_t;


typedef struct producer_s  producer_t;
typedef struct job_s       job_t;


/* a connection to Redis, made again whenever it is lost */

typedef struct {
    const char         *name;
    producer_t         *producer;
    void              (*handler)(producer_t *p);   /* it is connected */

    redisAsyncContext  *ac;             /* NULL: not connected */
    short               events;         /* for poll() */

    int64_t             retry;          /* not connected: try again then */
    int64_t             backoff;
    int64_t             deadline;       /* connected: expect a reply until */
    int64_t             ask;            /* then ask for the functions again */
    unsigned            waiting;        /* replies expected */

    unsigned            ready:1;        /* commands may be sent */
    unsigned            failed:1;       /* the outage is logged */
    unsigned            lacking:1;      /* no functions; it is logged */
} conn_t;


/* an entry of the stream; the strings belong to the reply */

typedef struct {
    const char         *id;
    const char         *event;
    const char         *data;           /* JSON */
    const char         *job;            /* the id that nginx has checked */
    const char         *user;           /* who sent it, as nginx knows */
    const char         *reply;          /* where an answer goes to, */
    const char         *ack;            /* and its number; NULL: none wanted */
} command_t;


/*
 * NEW -> CLAIMING -> CHECKING -> RUNNING -> DONE is the usual life of a job:
 * CHECKING reads from Redis where it stands, which is at its beginning as a
 * rule.  A failed event or a new connection leads to LOST, from there to
 * CHECKING and to RUNNING again.
 */

typedef enum {
    JOB_NEW = 0,
    JOB_CLAIMING,
    JOB_RUNNING,
    JOB_LOST,
    JOB_CHECKING,
    JOB_DONE
} job_state_e;


struct job_s {
    job_t              *next;
    producer_t         *producer;

    char               *id;
    char               *user;
    char               *prompt;

    char               *command;        /* id of its entry in the stream */
    char               *reply;          /* see command_t */
    char               *ack;

    buf_t               text;           /* the whole answer */
    size_t             *ends;           /* token i is ends[i - 1] .. ends[i] */
    size_t              total;          /* number of tokens */
    size_t              index;          /* tokens published so far */
    size_t              step;           /* events published so far */

    job_state_e         state;
    unsigned            pending;        /* callbacks that will still come */
    unsigned            tries;
    int64_t             timer;          /* next step is due then */
    int64_t             started;        /* ms since 1970 */

    unsigned            progress:1;     /* task:progress:v1 comes next */
    unsigned            cancelled:1;
};


struct producer_s {
    char               *host;           /* or the path of a unix socket */
    int                 port;           /* 0: unix socket */
    const char         *name;           /* in the group */
    int64_t             interval;       /* between two tokens */

    conn_t              in;             /* reads commands */
    conn_t              cmd;            /* for all else */

    char                after[48];      /* read what comes after this entry */
    unsigned            again:1;        /* read what is not acknowledged */

    job_t              *jobs;
    unsigned            njobs;

    buf_t               data;           /* reused for each event */

    int64_t             now;            /* monotonic, once per loop turn */
};


static int init(producer_t *p, int argc, char **argv);
static int parse_redis(producer_t *p, const char *value);
static void loop(producer_t *p);
static void quit(producer_t *p);
static int64_t monotonic(void);
static int64_t wallclock(void);
static void logmsg(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

static void conn_open(conn_t *c);
static void conn_connected(const redisAsyncContext *ac, int status);
static void conn_add_read(void *data);
static void conn_del_read(void *data);
static void conn_add_write(void *data);
static void conn_del_write(void *data);
static void conn_cleanup(void *data);
static void conn_fail(conn_t *c, const char *why);
static void conn_ready(conn_t *c);
static void conn_event(conn_t *c, short revents);
static int64_t conn_timer(conn_t *c, int64_t now);
static void conn_sent(conn_t *c);
static void conn_replied(conn_t *c);

static void in_connected(producer_t *p);
static void in_grouped(redisAsyncContext *ac, void *reply, void *data);
static void in_read(producer_t *p);
static void in_reply(redisAsyncContext *ac, void *reply, void *data);
static void in_entry(producer_t *p, const redisReply *entry);
static void cmd_ask(producer_t *p);
static void cmd_reply(redisAsyncContext *ac, void *reply, void *data);
static void cmd_lacking(producer_t *p);

static void command_take(producer_t *p, const command_t *c);
static void command_refuse(producer_t *p, const command_t *c,
    const char *error);
static void command_answer(producer_t *p, const char *reply, const char *ack,
    const job_t *job, const char *error);
static void command_ack(producer_t *p, const char *id);
static void command_acked(redisAsyncContext *ac, void *reply, void *data);

static void job_start(producer_t *p, const command_t *c, const char *id,
    const char *prompt);
static void job_cancel(producer_t *p, const command_t *c, const char *id);
static int job_look(job_t *job);
static void job_looked(redisAsyncContext *ac, void *reply, void *data);
static void job_started(job_t *job);
static job_t *job_find(producer_t *p, const char *id);
static void job_run(job_t *job);
static int64_t job_timer(job_t *job);
static void job_claim(job_t *job);
static void job_claimed(redisAsyncContext *ac, void *reply, void *data);
static int job_step(job_t *job);
static size_t job_tenths(const job_t *job, size_t index);
static int job_progress(job_t *job);
static int job_end(job_t *job, const char *status, const char *why);
static void job_lost(job_t *job, const char *why);
static void job_check(job_t *job);
static void job_checked(redisAsyncContext *ac, void *reply, void *data);
static const char *job_place(job_t *job, redisReply *r);
static void job_free(job_t *job);

static int publish_event(job_t *job, const char *event, const buf_t *data,
    const char *append, size_t append_len, fields_t *fields);
static void publish_done(redisAsyncContext *ac, void *reply, void *data);
static int is_lacking(const redisReply *r);

static int answer(job_t *job);
static void answer_expand(buf_t *b, uint64_t *seed, const char *tmpl,
    const char *prompt);
static int answer_split(job_t *job, uint64_t *seed);
static size_t answer_random(uint64_t *seed, size_t n);

static size_t utf8_len(const char *p, size_t len);
static void buf_reset(buf_t *b);
static void buf_add(buf_t *b, const char *data, size_t len);
static void buf_str(buf_t *b, const char *str);
static void json_begin(buf_t *b);
static void json_end(buf_t *b);
static void json_name(buf_t *b, const char *name);
static void json_quote(buf_t *b, const char *value, size_t len);
static void json_str(buf_t *b, const char *name, const char *value);
static void json_num(buf_t *b, const char *name, int64_t value);
static const redisReply *field(const redisReply *fields, const char *name);
static const char *field_text(const redisReply *fields, const char *name);
static void field_str(fields_t *f, const char *name, const char *value,
    size_t len);
static void field_num(fields_t *f, const char *name, int64_t value);


static volatile sig_atomic_t  quit_signal;


static void
signal_handler(int signo)
{
    quit_signal = signo;
}


int
main(int argc, char **argv)
{
    producer_t  p;

    memset(&p, 0, sizeof(producer_t));

    if (init(&p, argc, argv) != 0) {
        free(p.host);
        return 2;
    }

    loop(&p);
    quit(&p);

    return 0;
}


static int
init(producer_t *p, int argc, char **argv)
{
    int               c;
    char             *end;
    double            rate;
    const char       *redis;
    struct sigaction  sa;

    static const struct option  options[] = {
        { "redis", required_argument, NULL, 'r' },
        { "rate", required_argument, NULL, 't' },
        { "name", required_argument, NULL, 'n' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 }
    };

    redis = "127.0.0.1:6379";
    rate = 25;
    p->name = "producer";

    while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {

        switch (c) {

        case 'r':
            redis = optarg;
            break;

        case 't':
            rate = strtod(optarg, &end);

            if (end == optarg || *end != '\0'
                || !(rate >= 0.1 && rate <= 100000))
            {
                fprintf(stderr, "producer: invalid rate \"%s\"\n", optarg);
                return -1;
            }

            break;

        case 'n':
            p->name = optarg;
            break;

        case 'h':
            printf("usage: producer [--redis host:port|/path] "
                   "[--rate tokens/s] [--name name]\n");
            exit(0);

        default:
            return -1;
        }
    }

    if (optind != argc) {
        fprintf(stderr, "producer: unexpected \"%s\"\n", argv[optind]);
        return -1;
    }

    if (parse_redis(p, redis) != 0) {
        fprintf(stderr, "producer: invalid address \"%s\"\n", redis);
        return -1;
    }

    p->interval = (int64_t) (1000000 / rate);

    p->in.name = "reading";
    p->in.handler = in_connected;
    p->in.producer = p;

    p->cmd.name = "command";
    p->cmd.handler = cmd_ask;
    p->cmd.producer = p;

    srandom((unsigned) (time(NULL) ^ getpid()));

    memset(&sa, 0, sizeof(struct sigaction));
    sigemptyset(&sa.sa_mask);

    sa.sa_handler = SIG_IGN;

    if (sigaction(SIGPIPE, &sa, NULL) == -1) {
        perror("producer: sigaction()");
        return -1;
    }

    sa.sa_handler = signal_handler;

    if (sigaction(SIGTERM, &sa, NULL) == -1
        || sigaction(SIGINT, &sa, NULL) == -1)
    {
        perror("producer: sigaction()");
        return -1;
    }

    return 0;
}


/* [redis://]host[:port][/0], "[::1]:port", a port, unix:/path, /path */

static int
parse_redis(producer_t *p, const char *value)
{
    long         port;
    char        *end;
    size_t       len;
    const char  *rest;

    if (strncmp(value, "unix:", 5) == 0) {
        value += 5;
    }

    if (value[0] == '/') {
        p->host = strdup(value);
        return (p->host == NULL) ? -1 : 0;
    }

    if (strncmp(value, "redis://", 8) == 0) {
        value += 8;
    }

    if (value[0] == '[') {
        value++;
        len = strcspn(value, "]");

        if (value[len] == '\0') {
            return -1;
        }

        rest = value + len + 1;

    } else {
        len = strcspn(value, ":/");
        rest = value + len;

        if (*rest == '\0' && len != 0
            && strspn(value, "0123456789") == len)
        {
            rest = value;
            len = 0;
        }
    }

    port = 6379;

    if (*rest == ':' || isdigit((unsigned char) *rest)) {
        rest += (*rest == ':');
        port = strtol(rest, &end, 10);

        if (end == rest || port < 1 || port > 65535) {
            return -1;
        }

        rest = end;
    }

    if (*rest != '\0' && strcmp(rest, "/") != 0 && strcmp(rest, "/0") != 0) {
        return -1;
    }

    p->host = len ? strndup(value, len) : strdup("127.0.0.1");
    p->port = (int) port;

    return (p->host == NULL) ? -1 : 0;
}


static void
loop(producer_t *p)
{
    int              n, i;
    job_t           *job, **next;
    conn_t          *conns[2], *c;
    int64_t          timer, t;
    sigset_t         block, orig;
    struct pollfd    fds[2];
    struct timespec  ts;

    conns[0] = &p->in;
    conns[1] = &p->cmd;

    /* signals arrive in ppoll() only, so none slips in just before it */

    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigaddset(&block, SIGINT);
    sigprocmask(SIG_BLOCK, &block, &orig);

    for ( ;; ) {
        p->now = monotonic();

        if (quit_signal) {

            /* its jobs are not acknowledged: they go on with the next start */

            logmsg("signal %d, stopping with %u jobs", (int) quit_signal,
                   p->njobs);
            break;
        }

        for (next = &p->jobs; *next; /* void */) {
            job = *next;

            job_run(job);

            if (job->state == JOB_DONE && job->pending == 0) {
                *next = job->next;
                command_ack(p, job->command);
                job_free(job);
                continue;
            }

            next = &job->next;
        }

        /* what is due next */

        timer = p->now + 60000000;

        for (i = 0; i < 2; i++) {
            t = conn_timer(conns[i], p->now);
            timer = (t < timer) ? t : timer;
        }

        for (job = p->jobs; job; job = job->next) {
            t = job_timer(job);
            timer = (t < timer) ? t : timer;
        }

        timer = (timer > p->now) ? timer - p->now : 0;
        ts.tv_sec = timer / 1000000;
        ts.tv_nsec = timer % 1000000 * 1000;

        for (i = 0; i < 2; i++) {
            c = conns[i];

            fds[i].fd = c->ac ? c->ac->c.fd : -1;
            fds[i].events = c->events;
            fds[i].revents = 0;
        }

        n = ppoll(fds, 2, &ts, &orig);

        if (n == -1 && errno != EINTR) {
            logmsg("ppoll() failed: %s", strerror(errno));
            break;
        }

        p->now = monotonic();

        for (i = 0; n > 0 && i < 2; i++) {
            if (fds[i].revents) {
                conn_event(conns[i], fds[i].revents);
            }
        }
    }
}


static void
quit(producer_t *p)
{
    job_t  *job;

    if (p->in.ac) {
        redisAsyncFree(p->in.ac);
    }

    if (p->cmd.ac) {
        redisAsyncFree(p->cmd.ac);
    }

    while (p->jobs) {
        job = p->jobs;
        p->jobs = job->next;
        job_free(job);
    }

    free(p->data.data);
    free(p->host);
}


static int64_t
monotonic(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}


/* milliseconds since 1970, as all timestamps in events and states */

static int64_t
wallclock(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


static void
logmsg(const char *fmt, ...)
{
    va_list    args;
    char       date[32];
    time_t     now;
    struct tm  tm;

    now = time(NULL);

    if (localtime_r(&now, &tm) == NULL
        || strftime(date, sizeof(date), "%Y/%m/%d %H:%M:%S", &tm) == 0)
    {
        date[0] = '\0';
    }

    fprintf(stderr, "%s producer: ", date);

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);

    fputc('\n', stderr);
}


/* connections */


static void
conn_open(conn_t *c)
{
    producer_t         *p;
    redisAsyncContext  *ac;

    p = c->producer;

    ac = p->port ? redisAsyncConnect(p->host, p->port)
                 : redisAsyncConnectUnix(p->host);

    if (ac == NULL) {
        conn_fail(c, "no memory");
        return;
    }

    if (ac->err) {
        conn_fail(c, ac->errstr);
        redisAsyncFree(ac);
        return;
    }

    ac->data = c;

    ac->ev.addRead = conn_add_read;
    ac->ev.delRead = conn_del_read;
    ac->ev.addWrite = conn_add_write;
    ac->ev.delWrite = conn_del_write;
    ac->ev.cleanup = conn_cleanup;
    ac->ev.data = c;

    c->ac = ac;
    c->events = 0;
    c->ready = 0;
    c->waiting = 0;
    c->ask = 0;
    c->deadline = p->now + CONNECT_TIMEOUT;

    if (redisAsyncSetConnectCallback(ac, conn_connected) != REDIS_OK) {
        redisAsyncFree(ac);
    }
}


static void
conn_connected(const redisAsyncContext *ac, int status)
{
    conn_t  *c;

    c = ac->data;

    if (status != REDIS_OK) {
        /* hiredis frees it now */
        conn_fail(c, ac->errstr);
        return;
    }

    if (c->producer->port) {
        (void) redisEnableKeepAlive(&c->ac->c);
    }

    c->handler(c->producer);
}


static void
conn_add_read(void *data)
{
    conn_t  *c = data;

    c->events |= POLLIN;
}


static void
conn_del_read(void *data)
{
    conn_t  *c = data;

    c->events &= ~POLLIN;
}


static void
conn_add_write(void *data)
{
    conn_t  *c = data;

    c->events |= POLLOUT;
}


static void
conn_del_write(void *data)
{
    conn_t  *c = data;

    c->events &= ~POLLOUT;
}


/* the one place that every lost connection comes to */

static void
conn_cleanup(void *data)
{
    conn_t  *c = data;

    if (!quit_signal) {
        conn_fail(c, c->ac->errstr && c->ac->errstr[0] ? c->ac->errstr
                                                       : "connection lost");
    }

    c->ac = NULL;
    c->ready = 0;
}


/* called once or twice per failure, and with c->failed set it is silent */

static void
conn_fail(conn_t *c, const char *why)
{
    if (!c->failed) {
        logmsg("redis %s connection failed: %s", c->name, why);
        c->failed = 1;
        c->backoff = MIN_BACKOFF;

    } else if (c->retry <= c->producer->now) {
        c->backoff = (c->backoff * 2 > MAX_BACKOFF) ? MAX_BACKOFF
                                                    : c->backoff * 2;
    }

    c->retry = c->producer->now + c->backoff / 2
               + random() % (c->backoff / 2);
}


static void
conn_ready(conn_t *c)
{
    if (c->failed) {
        logmsg("redis %s connection is back", c->name);
        c->failed = 0;
    }

    c->ready = 1;
}


static void
conn_event(conn_t *c, short revents)
{
    /*
     * Errors are found by reading; while connecting, by "writing".
     * The context may be gone after each call.
     */

    if (c->ac && (c->events & POLLIN)
        && (revents & (POLLIN|POLLHUP|POLLERR)))
    {
        redisAsyncHandleRead(c->ac);
    }

    if (c->ac && (c->events & POLLOUT)
        && (revents & (POLLOUT|POLLHUP|POLLERR)))
    {
        redisAsyncHandleWrite(c->ac);
    }
}


static int64_t
conn_timer(conn_t *c, int64_t now)
{
    if (c->ac && c->ask && now >= c->ask) {
        cmd_ask(c->producer);
    }

    if (c->ac && !c->ask && (c->waiting || !c->ready) && now >= c->deadline) {
        conn_fail(c, "timed out");
        redisAsyncFree(c->ac);
    }

    if (c->ac == NULL && !quit_signal && now >= c->retry) {
        conn_open(c);
    }

    if (c->ac == NULL) {
        return c->retry;
    }

    if (c->ask) {
        return c->ask;
    }

    return (c->waiting || !c->ready) ? c->deadline : INT64_MAX;
}


static void
conn_sent(conn_t *c)
{
    if (c->waiting++ == 0) {
        c->deadline = c->producer->now + REPLY_TIMEOUT;
    }
}


static void
conn_replied(conn_t *c)
{
    c->waiting--;
    c->deadline = c->producer->now + REPLY_TIMEOUT;
}


/* the commands that arrive */


static void
in_connected(producer_t *p)
{
    /* what was sent before there was a producer counts, too: from 0 on */

    if (redisAsyncCommand(p->in.ac, in_grouped, p,
                          "XGROUP CREATE " STREAM " " GROUP " 0 MKSTREAM")
        != REDIS_OK)
    {
        /* no reply will come, the deadline ends the connection */
        logmsg("redisAsyncCommand() failed");
        return;
    }

    conn_sent(&p->in);
}


static void
in_grouped(redisAsyncContext *ac, void *reply, void *data)
{
    redisReply  *r = reply;
    producer_t  *p = data;

    conn_replied(&p->in);

    if (r == NULL) {
        return;
    }

    if (r->type == REDIS_REPLY_ERROR
        && strncmp(r->str, "BUSYGROUP ", sizeof("BUSYGROUP ") - 1) != 0)
    {
        conn_fail(&p->in, r->str);
        redisAsyncFree(ac);
        return;
    }

    conn_ready(&p->in);

    logmsg("takes commands from \"" STREAM "\" as \"%s\"", p->name);

    /* first what was given to this name before, and is not acknowledged */

    p->again = 0;
    (void) strcpy(p->after, "0");

    in_read(p);
}


static void
in_read(producer_t *p)
{
    if (redisAsyncCommand(p->in.ac, in_reply, p,
                          "XREADGROUP GROUP " GROUP " %s COUNT 32 "
                          "BLOCK " BLOCK_MS " STREAMS " STREAM " %s",
                          p->name, p->after)
        != REDIS_OK)
    {
        logmsg("redisAsyncCommand() failed");
        return;
    }

    conn_sent(&p->in);
}


/* [ [ stream, [ entry, ... ] ] ], or nil if nothing has come in time */

static void
in_reply(redisAsyncContext *ac, void *reply, void *data)
{
    size_t             i, n;
    redisReply        *r = reply;
    producer_t        *p = data;
    const redisReply  *entries;

    conn_replied(&p->in);

    if (r == NULL) {
        return;
    }

    if (r->type == REDIS_REPLY_ERROR) {

        /* somebody has deleted the group or the stream: make them again */

        if (strncmp(r->str, "NOGROUP ", sizeof("NOGROUP ") - 1) == 0
            || strncmp(r->str, "UNBLOCKED ", sizeof("UNBLOCKED ") - 1) == 0)
        {
            in_connected(p);
            return;
        }

        conn_fail(&p->in, r->str);
        redisAsyncFree(ac);
        return;
    }

    entries = NULL;
    n = 0;

    if (r->type == REDIS_REPLY_ARRAY && r->elements == 1
        && r->element[0]->type == REDIS_REPLY_ARRAY
        && r->element[0]->elements == 2
        && r->element[0]->element[1]->type == REDIS_REPLY_ARRAY)
    {
        entries = r->element[0]->element[1];
        n = entries->elements;
    }

    for (i = 0; i < n; i++) {
        in_entry(p, entries->element[i]);
    }

    if (p->again) {
        p->again = 0;
        (void) strcpy(p->after, "0");

    } else if (n == 0) {
        (void) strcpy(p->after, ">");
    }

    in_read(p);
}


/* [ id, [ field, value, ... ] ], or [ id, nil ] if it was deleted */

static void
in_entry(producer_t *p, const redisReply *entry)
{
    command_t          c;
    const redisReply  *fields, *data;

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2
        || entry->element[0]->type != REDIS_REPLY_STRING)
    {
        return;
    }

    c.id = entry->element[0]->str;

    if (p->after[0] != '>') {
        (void) snprintf(p->after, sizeof(p->after), "%s", c.id);
    }

    fields = entry->element[1];

    if (fields->type != REDIS_REPLY_ARRAY) {
        command_ack(p, c.id);
        return;
    }

    data = field(fields, "data");

    c.event = field_text(fields, "event");
    c.data = data ? data->str : NULL;
    c.job = field_text(fields, "job");
    c.user = field_text(fields, "user");
    c.reply = field_text(fields, "reply");
    c.ack = field_text(fields, "ack");

    if (c.reply == NULL || c.ack == NULL || c.ack[0] == '\0'
        || c.ack[strspn(c.ack, "0123456789")] != '\0')
    {
        c.reply = NULL;
        c.ack = NULL;
    }

    /* yajl_tree reads up to the first zero byte */

    if (data && (data->len > MAX_DATA || strlen(data->str) != data->len)) {
        command_refuse(p, &c, "the data is too long or has zero bytes");
        return;
    }

    command_take(p, &c);
}


/*
 * Redis may be loading its data still, want no more clients, or lack the
 * functions: ask first.
 */

static void
cmd_ask(producer_t *p)
{
    p->cmd.ask = 0;

    if (redisAsyncCommand(p->cmd.ac, cmd_reply, p, "FCALL_RO rtbus_version 0")
        != REDIS_OK)
    {
        /* no reply will come, the deadline ends the connection */
        logmsg("redisAsyncCommand() failed");
        return;
    }

    conn_sent(&p->cmd);
}


static void
cmd_reply(redisAsyncContext *ac, void *reply, void *data)
{
    job_t       *job;
    redisReply  *r = reply;
    producer_t  *p = data;

    conn_replied(&p->cmd);

    if (r == NULL) {
        return;
    }

    if (is_lacking(r)) {
        cmd_lacking(p);
        return;
    }

    if (r->type == REDIS_REPLY_ERROR) {
        conn_fail(&p->cmd, r->str);
        redisAsyncFree(ac);
        return;
    }

    p->cmd.ask = 0;

    if (p->cmd.lacking) {
        logmsg("redis has the function library \"rtbus\" now");
        p->cmd.lacking = 0;
    }

    conn_ready(&p->cmd);

    /* commands that could not be answered or acknowledged meanwhile */

    p->again = 1;

    /* it may have come back with older data, or with none */

    for (job = p->jobs; job; job = job->next) {
        if (job->state == JOB_RUNNING) {
            job->state = JOB_LOST;
            job->timer = p->now;
        }
    }
}


/* somebody will load them: jobs wait until then */

static void
cmd_lacking(producer_t *p)
{
    if (!p->cmd.lacking) {
        logmsg("redis has no function library \"rtbus\", waiting for it: "
               "nginx loads it, or: redis-cli -x FUNCTION LOAD REPLACE "
               "< conf/rtbus.lua");
        p->cmd.lacking = 1;
    }

    p->cmd.ready = 0;
    p->cmd.ask = p->now + RETRY_DELAY;
}


/* what is done with them */


static void
command_take(producer_t *p, const command_t *c)
{
    char         error[128];
    size_t       len;
    yajl_val     data;
    const char  *id, *prompt;

    static const char  *id_path[] = { "jobId", NULL };
    static const char  *prompt_path[] = { "prompt", NULL };

    static const char  id_chars[] = "abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789_.-";

    data = c->data ? yajl_tree_parse(c->data, error, sizeof(error)) : NULL;

    /*
     * The data is what the client has written, and may be read in more than one
     * way: whose job it is was asked for the id that stands beside it.  It is
     * not there if nginx was not told to look (job= of rtbus_command).
     */

    id = c->job;

    if (id == NULL) {
        id = YAJL_GET_STRING(yajl_tree_get(data, id_path, yajl_t_string));
    }

    prompt = YAJL_GET_STRING(yajl_tree_get(data, prompt_path, yajl_t_string));

    len = id ? strlen(id) : 0;

    if (len < 1 || len > 128 || strspn(id, id_chars) != len) {
        command_refuse(p, c, "no jobId");

    } else if (c->event && strcmp(c->event, "job:start:v1") == 0) {
        job_start(p, c, id, prompt ? prompt : "");

    } else if (c->event && strcmp(c->event, "task:cancel:v1") == 0) {
        job_cancel(p, c, id);

    } else {
        command_refuse(p, c, "unknown command");
    }

    yajl_tree_free(data);
}


static void
command_refuse(producer_t *p, const command_t *c, const char *error)
{
    logmsg("command %s refused: %s", c->id, error);

    command_answer(p, c->reply, c->ack, NULL, error);
    command_ack(p, c->id);
}


/* what the client's acknowledgement callback is called with */

static void
command_answer(producer_t *p, const char *reply, const char *ack,
    const job_t *job, const char *error)
{
    buf_t  *b;

    if (reply == NULL || !p->cmd.ready) {
        return;
    }

    b = &p->data;

    buf_reset(b);
    buf_str(b, "{\"ack\":");
    buf_str(b, ack);
    buf_str(b, ",\"data\":[");
    json_begin(b);
    json_name(b, "ok");
    buf_str(b, error ? "false" : "true");

    if (error) {
        json_str(b, "error", error);
    }

    if (job) {
        json_str(b, "jobId", job->id);
        json_num(b, "total", (int64_t) job->total);
    }

    json_end(b);
    buf_str(b, "]}");

    if (b->failed) {
        return;
    }

    /* if it gets lost, the client is told so by nginx: "timeout" */

    (void) redisAsyncCommand(p->cmd.ac, NULL, NULL, "PUBLISH %s %b", reply,
                             b->data, b->len);
}


/* what is not acknowledged now is read again when Redis is back */

static void
command_ack(producer_t *p, const char *id)
{
    if (!p->cmd.ready) {
        return;
    }

    if (redisAsyncCommand(p->cmd.ac, command_acked, p,
                          "XACK " STREAM " " GROUP " %s", id)
        == REDIS_OK)
    {
        conn_sent(&p->cmd);
    }
}


static void
command_acked(redisAsyncContext *ac, void *reply, void *data)
{
    redisReply  *r = reply;
    producer_t  *p = data;

    (void) ac;

    conn_replied(&p->cmd);

    if (r && r->type == REDIS_REPLY_ERROR) {
        logmsg("XACK failed: %s", r->str);
    }
}


/* jobs */


static void
job_start(producer_t *p, const command_t *c, const char *id,
    const char *prompt)
{
    job_t  *job;

    job = job_find(p, id);

    if (job && strcmp(job->command, c->id) == 0) {
        /* read again */
        return;
    }

    if (job) {
        command_refuse(p, c, "there is such a job");
        return;
    }

    if (p->njobs == MAX_JOBS) {
        command_refuse(p, c, "too many jobs");
        return;
    }

    job = calloc(1, sizeof(job_t));
    if (job == NULL) {
        command_refuse(p, c, "no memory");
        return;
    }

    job->producer = p;
    job->id = strdup(id);
    job->user = strdup(c->user ? c->user : "");
    job->prompt = strdup(prompt);
    job->command = strdup(c->id);
    job->reply = c->reply ? strdup(c->reply) : NULL;
    job->ack = c->ack ? strdup(c->ack) : NULL;

    p->njobs++;

    if (job->id == NULL || job->user == NULL || job->prompt == NULL
        || job->command == NULL
        || (c->reply && (job->reply == NULL || job->ack == NULL))
        || answer(job) != 0)
    {
        job_free(job);
        command_refuse(p, c, "no memory");
        return;
    }

    job->next = p->jobs;
    p->jobs = job;
}


/* nginx has made sure that the job is theirs who cancel it */

static void
job_cancel(producer_t *p, const command_t *c, const char *id)
{
    job_t  *job;

    job = job_find(p, id);

    if (job) {
        job->cancelled = 1;
        job->timer = p->now;
    }

    if (!p->cmd.ready) {
        return;
    }

    /* for the producer that does it, which may have to be started again */

    (void) redisAsyncCommand(p->cmd.ac, NULL, NULL,
                             "SET {job:%s}:cancel 1 EX " KEEP_SECONDS, id);

    command_answer(p, c->reply, c->ack, NULL, NULL);
    command_ack(p, c->id);
}


/* has another producer read a cancel? */

static int
job_look(job_t *job)
{
    producer_t  *p;

    p = job->producer;

    if (redisAsyncCommand(p->cmd.ac, job_looked, job,
                          "EXISTS {job:%s}:cancel", job->id)
        != REDIS_OK)
    {
        return -1;
    }

    job->pending++;
    conn_sent(&p->cmd);

    return 0;
}


static void
job_looked(redisAsyncContext *ac, void *reply, void *data)
{
    job_t       *job = data;
    redisReply  *r = reply;

    (void) ac;

    job->pending--;
    conn_replied(&job->producer->cmd);

    if (r && r->type == REDIS_REPLY_INTEGER && r->integer) {
        job->cancelled = 1;
        job->timer = job->producer->now;
    }
}


static job_t *
job_find(producer_t *p, const char *id)
{
    job_t  *job;

    for (job = p->jobs; job; job = job->next) {
        if (job->state != JOB_DONE && strcmp(job->id, id) == 0) {
            return job;
        }
    }

    return NULL;
}


/* does what is due now */

static void
job_run(job_t *job)
{
    int          rc;
    producer_t  *p;

    p = job->producer;

    if (!p->cmd.ready || p->now < job->timer) {
        return;
    }

    switch (job->state) {

    case JOB_NEW:
        job_claim(job);
        return;

    case JOB_LOST:
        job_check(job);
        return;

    case JOB_RUNNING:
        break;

    default:
        return;
    }

    /* a job that was held up goes on at its rate, it does not catch up */

    if (job->timer < p->now - 1000000) {
        job->timer = p->now;
    }

    while (job->state == JOB_RUNNING && p->now >= job->timer
           && job->pending < MAX_PENDING)
    {
        rc = job->cancelled ? job_end(job, "cancelled", NULL) : job_step(job);

        if (rc != 0) {
            job_lost(job, "no memory or connection");
            return;
        }

        job->timer += p->interval;
    }
}


static int64_t
job_timer(job_t *job)
{
    if (!job->producer->cmd.ready) {
        return INT64_MAX;
    }

    switch (job->state) {

    case JOB_NEW:
    case JOB_LOST:
        return job->timer;

    case JOB_RUNNING:
        return (job->pending < MAX_PENDING) ? job->timer : INT64_MAX;

    default:
        return INT64_MAX;
    }
}


/*
 * A job belongs to the command that was the first to start it: a second one
 * with the same job id is refused.
 */

static void
job_claim(job_t *job)
{
    producer_t  *p;

    p = job->producer;

    (void) redisAsyncCommand(p->cmd.ac, NULL, NULL,
                             "HSETNX {job:%s}:state command %s", job->id,
                             job->command);
    (void) redisAsyncCommand(p->cmd.ac, NULL, NULL,
                             "EXPIRE {job:%s}:state " KEEP_SECONDS, job->id);

    if (redisAsyncCommand(p->cmd.ac, job_claimed, job,
                          "HGET {job:%s}:state command", job->id)
        != REDIS_OK)
    {
        job->timer = p->now + RETRY_DELAY;
        return;
    }

    job->state = JOB_CLAIMING;
    job->pending++;
    conn_sent(&p->cmd);
}


static void
job_claimed(redisAsyncContext *ac, void *reply, void *data)
{
    job_t       *job = data;
    redisReply  *r = reply;
    producer_t  *p;

    (void) ac;

    p = job->producer;

    job->pending--;
    conn_replied(&p->cmd);

    if (r == NULL || r->type == REDIS_REPLY_ERROR) {

        if (r && job->tries++ == MAX_TRIES) {
            logmsg("job %s not started: %s", job->id, r->str);
            job->state = JOB_DONE;
            return;
        }

        job->state = JOB_NEW;
        job->timer = p->now + RETRY_DELAY;
        return;
    }

    if (r->type != REDIS_REPLY_STRING || strcmp(r->str, job->command) != 0) {
        logmsg("job %s is not new", job->id);
        command_answer(p, job->reply, job->ack, NULL, "there is such a job");
        job->state = JOB_DONE;
        return;
    }

    job_check(job);
}


/* the next event: start, a token, after some of them progress, or the end */

static int
job_step(job_t *job)
{
    buf_t     *b, token;
    fields_t   f;

    b = &job->producer->data;

    if (job->progress) {
        return job_progress(job);
    }

    if (job->step && job->index == job->total) {
        return job_end(job, "completed", NULL);
    }

    f.n = 0;
    f.nnumbers = 0;

    buf_reset(b);
    json_begin(b);
    json_str(b, "jobId", job->id);
    json_str(b, "userId", job->user);

    if (job->step == 0) {
        json_num(b, "total", (int64_t) job->total);
        json_end(b);

        field_str(&f, "jobId", job->id, strlen(job->id));
        field_str(&f, "userId", job->user, strlen(job->user));
        field_str(&f, "prompt", job->prompt, strlen(job->prompt));
        field_str(&f, "status", "running", sizeof("running") - 1);
        field_num(&f, "progress", 0);

        job->started = wallclock();

        return publish_event(job, "model:start:v1", b, NULL, 0, &f);
    }

    token.data = job->text.data + job->ends[job->index];
    token.len = job->ends[job->index + 1] - job->ends[job->index];

    json_name(b, "chunk");
    json_quote(b, token.data, token.len);
    json_num(b, "index", (int64_t) job->index + 1);
    json_num(b, "total", (int64_t) job->total);
    json_num(b, "offset", (int64_t) job->ends[job->index]);
    json_end(b);

    job->index++;

    field_num(&f, "progress", (int64_t) (job->index * 100 / job->total));

    if (publish_event(job, "model:chunk:v1", b, token.data, token.len, &f)
        != 0
        || job_look(job) != 0)
    {
        return -1;
    }

    if (job_tenths(job, job->index) != job_tenths(job, job->index - 1)) {
        return job_progress(job);
    }

    return 0;
}


/* task:progress:v1 is published whenever this grows */

static size_t
job_tenths(const job_t *job, size_t index)
{
    return index * 100 / job->total / 10;
}


static int
job_progress(job_t *job)
{
    buf_t     *b;
    char       message[64];
    fields_t   f;

    b = &job->producer->data;

    f.n = 0;
    f.nnumbers = 0;

    job->progress = 0;

    (void) snprintf(message, sizeof(message), "%zu of %zu tokens written",
                    job->index, job->total);

    buf_reset(b);
    json_begin(b);
    json_str(b, "jobId", job->id);
    json_num(b, "progress", (int64_t) job_tenths(job, job->index) * 10);
    json_str(b, "status", "running");
    json_str(b, "message", message);
    json_end(b);

    return publish_event(job, "task:progress:v1", b, NULL, 0, &f);
}


/* why: for "failed" only */

static int
job_end(job_t *job, const char *status, const char *why)
{
    char         result[96];
    buf_t       *b;
    int64_t      ms, duration;
    fields_t     f;
    const char  *event;

    b = &job->producer->data;

    ms = wallclock();
    duration = job->started ? ms - job->started : 0;

    f.n = 0;
    f.nnumbers = 0;

    buf_reset(b);
    json_begin(b);
    json_str(b, "jobId", job->id);
    json_str(b, "userId", job->user);

    field_str(&f, "status", status, strlen(status));

    if (why) {
        event = "model:error:v1";
        json_str(b, "error", why);
        field_str(&f, "error", why, strlen(why));
        field_num(&f, "failedAt", ms);

    } else if (job->index < job->total) {
        event = "job:cancelled:v1";
        field_num(&f, "completedAt", ms);

    } else {
        event = "model:complete:v1";
        json_name(b, "text");
        json_quote(b, job->text.data, job->text.len);
        field_num(&f, "progress", 100);
        field_num(&f, "completedAt", ms);
    }

    json_num(b, "tokens", (int64_t) job->index);
    json_num(b, "duration", duration);
    json_end(b);

    (void) snprintf(result, sizeof(result),
                    "{\"tokens\":%zu,\"duration\":%" PRId64 "}",
                    job->index, duration);
    field_str(&f, "result", result, strlen(result));

    if (publish_event(job, event, b, NULL, 0, &f) != 0) {
        return -1;
    }

    /* if this one gets lost, publish_done() makes the job go on */

    job->state = JOB_DONE;

    logmsg("job %s %s after %zu tokens, %" PRId64 " ms", job->id, status,
           job->index, duration);

    return 0;
}


static void
job_lost(job_t *job, const char *why)
{
    if (quit_signal) {
        return;
    }

    if (job->tries++ == MAX_TRIES) {
        logmsg("job %s given up: %s", job->id, why);
        job->state = JOB_DONE;
        return;
    }

    if (job->tries == 1) {
        logmsg("job %s held up: %s", job->id, why);
    }

    job->state = JOB_LOST;
    job->timer = job->producer->now + (job->tries == 1 ? 0 : RETRY_DELAY);
}


/* the state in Redis tells which of our events were carried out */

static void
job_check(job_t *job)
{
    producer_t  *p;

    p = job->producer;

    /* not before all replies are in: one may still be carried out */

    if (job->pending) {
        job->timer = p->now + 10000;
        return;
    }

    if (redisAsyncCommand(p->cmd.ac, job_checked, job,
                          "FCALL_RO rtbus_snapshot 1 job:%s", job->id)
        != REDIS_OK)
    {
        job_lost(job, "no memory or connection");
        return;
    }

    job->state = JOB_CHECKING;
    job->pending++;
    conn_sent(&p->cmd);
}


static void
job_checked(redisAsyncContext *ac, void *reply, void *data)
{
    job_t       *job = data;
    redisReply  *r = reply;
    producer_t  *p;
    const char  *why;

    (void) ac;

    p = job->producer;

    job->pending--;
    conn_replied(&p->cmd);

    if (job->state != JOB_CHECKING) {
        return;
    }

    if (is_lacking(r)) {
        cmd_lacking(p);
    }

    if (r == NULL || r->type == REDIS_REPLY_ERROR) {
        job_lost(job, r ? r->str : "connection lost");
        return;
    }

    job->timer = p->now;

    why = job_place(job, r);

    if (why == NULL) {
        job->state = JOB_RUNNING;

        if (job->step == 0) {
            logmsg("job %s started, %zu tokens", job->id, job->total);

        } else if (job->tries || job->reply) {
            logmsg("job %s goes on after %zu tokens", job->id, job->index);
        }

        job_started(job);
        return;
    }

    if (why[0] == '\0') {
        logmsg("job %s has ended already", job->id);
        job->state = JOB_DONE;
        job_started(job);
        return;
    }

    if (job_end(job, "failed", why) != 0) {
        job_lost(job, "no memory or connection");
    }
}


/* tells the client, once */

static void
job_started(job_t *job)
{
    command_answer(job->producer, job->reply, job->ack, job, NULL);

    free(job->reply);
    job->reply = NULL;
}


/*
 * Goes to where the snapshot, [[field, value, ...], output, position], stands.
 * Returns NULL, "" if the job has ended, or what is wrong.
 */

static const char *
job_place(job_t *job, redisReply *r)
{
    size_t             i, step;
    const char        *status;
    const redisReply  *fields, *output, *value;

    if (r->type != REDIS_REPLY_ARRAY || r->elements != 3
        || r->element[0]->type != REDIS_REPLY_ARRAY
        || r->element[1]->type != REDIS_REPLY_STRING)
    {
        return "the snapshot is none";
    }

    fields = r->element[0];
    output = r->element[1];

    value = field(fields, "status");
    status = value ? value->str : "";

    if (strcmp(status, "completed") == 0 || strcmp(status, "cancelled") == 0
        || strcmp(status, "failed") == 0)
    {
        return "";
    }

    value = field(fields, "step");
    step = value ? (size_t) strtoull(value->str, NULL, 10) : 0;

    value = field(fields, "createdAt");
    job->started = value ? (int64_t) strtoll(value->str, NULL, 10) : 0;

    for (i = 0; i < job->total && job->ends[i] < output->len; i++) {
        /* void */
    }

    if (job->ends[i] != output->len
        || (output->len && memcmp(job->text.data, output->str, output->len)))
    {
        return "the output was changed by another";
    }

    job->index = i;
    job->step = step;
    job->progress = 0;

    /* the start, the tokens, and a progress event for each ten percent */

    if (step == 0 && i == 0) {
        return NULL;
    }

    if (step == 1 + i + job_tenths(job, i)) {
        return NULL;
    }

    if (step == i + job_tenths(job, i)
        && i && job_tenths(job, i) != job_tenths(job, i - 1))
    {
        job->progress = 1;
        return NULL;
    }

    return "the state was changed by another";
}


static void
job_free(job_t *job)
{
    job->producer->njobs--;

    free(job->id);
    free(job->user);
    free(job->prompt);
    free(job->command);
    free(job->reply);
    free(job->ack);
    free(job->text.data);
    free(job->ends);
    free(job);
}


/*
 * One event and all that it changes, in one step: the text is appended to
 * the output and the fields are set in the state as the event is added to the
 * stream.  Everything that the producer tells the world goes through here.
 */

static int
publish_event(job_t *job, const char *event, const buf_t *data,
    const char *append, size_t append_len, fields_t *fields)
{
    int           n, i;
    char          channel[160];
    size_t        len[48];
    producer_t   *p;
    const char   *argv[48];

    p = job->producer;

    if (!p->cmd.ready || data->failed) {
        return -1;
    }

    (void) snprintf(channel, sizeof(channel), "job:%s", job->id);

    field_num(fields, "step", (int64_t) job->step + 1);

    n = 0;

    argv[n++] = "FCALL";
    argv[n++] = "rtbus_publish";
    argv[n++] = "1";
    argv[n++] = channel;
    argv[n++] = event;

    for (i = 0; i < n; i++) {
        len[i] = strlen(argv[i]);
    }

    argv[n] = data->data;
    len[n++] = data->len;

    if (append) {
        argv[n] = "APPEND";
        len[n++] = 6;
        argv[n] = append;
        len[n++] = append_len;
    }

    argv[n] = "SET";
    len[n++] = 3;

    for (i = 0; i < fields->n; i++) {
        argv[n] = fields->argv[i];
        len[n++] = fields->len[i];
    }

    if (redisAsyncCommandArgv(p->cmd.ac, publish_done, job, n, argv, len)
        != REDIS_OK)
    {
        return -1;
    }

    job->step++;
    job->pending++;
    conn_sent(&p->cmd);

    return 0;
}


static void
publish_done(redisAsyncContext *ac, void *reply, void *data)
{
    job_t       *job = data;
    redisReply  *r = reply;

    (void) ac;

    job->pending--;
    conn_replied(&job->producer->cmd);

    if (r && r->type == REDIS_REPLY_STRING) {
        job->tries = 0;
        return;
    }

    if (is_lacking(r)) {
        cmd_lacking(job->producer);
    }

    if (quit_signal || job->state == JOB_LOST) {
        return;
    }

    job_lost(job, r == NULL ? "connection lost"
                  : r->type == REDIS_REPLY_ERROR ? r->str
                  : "unexpected reply");
}


/* Redis knows no function of this name */

static int
is_lacking(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ERROR
           && strstr(r->str, "Function not found") != NULL;
}


/* the answers */


typedef struct {
    const char         *name;
    const char        **words;
    size_t              n;
} answer_rule_t;


#define words(a)  a, sizeof(a) / sizeof(a[0])


static const char  *answer_openings[] = {
    "You asked: “{prompt}” — a fine question, and one over which {expert} "
    "{lost} in {place}.",

    "“{prompt}”? How odd — {expert} asked me exactly the same yesterday, and "
    "{lost} when I answered.",

    "Let us take “{prompt}” step by step — slowly, for {expert} is listening, "
    "and {lost} the last time.",

    "Ah, “{prompt}”. The short answer is the {thing}. The long answer — which "
    "{expert} found in {place} — follows."
};

static const char  *answer_sentences[] = {
    "First, one has to know that every {thing} began its life as another "
    "{thing}, only less {adjective}, which is why {animal} cannot stand it.",

    "Secondly — and here the literature is unanimous — nobody in {place} has "
    "ever seen {animal} {act} without the {thing}.",

    "A careful experiment ({number} trials, one broken {thing}) showed that "
    "{animal} will {act} whenever the kettle is on. 🫖",

    "Critics object that this is naïve; but then critics rarely {act} before "
    "breakfast, and never with {animal}.",

    "In {place} they serve it cold, with the {thing} on the side, and they "
    "call it {adjective} cuisine.",

    "My own contribution was to replace the {adjective} {thing} by {animal}, "
    "after which the throughput rose by {number} percent. 📈",

    "It follows that the {thing} is never late: it is the clock that is "
    "{adjective}.",

    "{expert} replied — in a letter of {number} pages, all of them {adjective} "
    "— that {animal} would have to {act} first.",

    "Do not try this at home; try it in {place}, where the neighbours "
    "{act} anyway.",

    "Whether the {thing} was {adjective} or merely wet is still discussed at "
    "the café near the harbour, mostly by {animal}.",

    "Engineers will recognise the pattern: a queue, a cache, and {animal}, "
    "doing the work of both — badly.",

    "There is a theorem about this, but its proof needs one {adjective} "
    "{thing} and a weekend without rain.",

    "Remember that {number} is only a number; to {animal} it is a way of "
    "life. 🦆",

    "And yet, whenever someone says “{thing}”, a small bell rings in {place} "
    "and {expert} has to {act}."
};

static const char  *answer_closings[] = {
    "So, to come back to “{prompt}”: yes — but only on Tuesdays, and never "
    "without {animal}. 🚀",

    "In conclusion, “{prompt}” is best answered by {animal}; I merely hold the "
    "{thing}. Voilà! ✨",

    "The rest — as {expert} liked to say in {place} — is left as an exercise "
    "to {animal}. ☕",

    "That settles “{prompt}” once and for all, or at least until {animal} "
    "comes back with the {adjective} {thing}. 🎉"
};

static const char  *answer_experts[] = {
    "Professor Brûlée", "the Night Librarian of Łódź", "my cousin Zoë",
    "the Committee for Unnecessary Umlauts", "an anonymous lighthouse keeper",
    "Dr. Ångström the Younger", "a retired compiler", "Señora Jalapeño"
};

static const char  *answer_losts[] = {
    "lost a perfectly good hat", "forgot to have lunch",
    "dropped a crème brûlée", "changed religion twice", "missed the last tram",
    "wrote a very long e-mail"
};

static const char  *answer_places[] = {
    "Zürich", "a kitchen in Kraków", "the lower left corner of Reykjavík",
    "東京", "the basement of the Bibliothèque nationale", "São Paulo",
    "a lift between two floors", "Gdańsk", "the queue at the post office"
};

static const char  *answer_things[] = {
    "teapot", "smörgåsbord", "umbrella", "semaphore", "façade", "accordion",
    "spreadsheet", "doorbell", "jalapeño", "lighthouse", "linked list",
    "left shoe", "piñata", "barometer"
};

static const char  *answer_adjectives[] = {
    "recursive", "slightly damp", "eventually consistent", "lukewarm",
    "thread-safe", "melancholic", "second-hand", "idempotent", "chocolate",
    "well-meaning", "lock-free", "Scandinavian"
};

static const char  *answer_animals[] = {
    "a duck", "the goose", "an otter with opinions", "some hedgehogs",
    "the office cat", "a heron", "two badgers in a coat", "a very old tortoise",
    "an owl", "the neighbour’s dog"
};

static const char  *answer_acts[] = {
    "whistle", "read the manual", "apologise", "juggle", "negotiate",
    "take minutes", "dance a polonaise", "queue politely", "hum in F♯"
};

static const char  *answer_numbers[] = {
    "7", "42", "1024", "3.14", "six and a half", "99", "217", "1001"
};


static const answer_rule_t  answer_rules[] = {
    { "expert", words(answer_experts) },
    { "lost", words(answer_losts) },
    { "place", words(answer_places) },
    { "thing", words(answer_things) },
    { "adjective", words(answer_adjectives) },
    { "animal", words(answer_animals) },
    { "act", words(answer_acts) },
    { "number", words(answer_numbers) },
    { NULL, NULL, 0 }
};


#define N_SENTENCES  (sizeof(answer_sentences) / sizeof(answer_sentences[0]))


/* the same prompt always gets the same answer */

static int
answer(job_t *job)
{
    buf_t       *b;
    char         prompt[256];
    size_t       i, k, n, len, order[N_SENTENCES];
    uint64_t     seed;
    const char  *s;

    /* what is quoted: one line of at most 200 bytes, cut between characters */

    s = job->prompt;
    seed = 14695981039346656037ULL;

    for (i = 0; s[i]; i++) {
        seed = (seed ^ (unsigned char) s[i]) * 1099511628211ULL;
    }

    for (len = 0; s[len] && len < 200; len += n) {
        n = utf8_len(s + len, strlen(s + len));

        if (len + n > 200) {
            break;
        }

        for (i = len; i < len + n; i++) {
            prompt[i] = ((unsigned char) s[i] < ' ') ? ' ' : s[i];
        }
    }

    (void) strcpy(prompt + len, s[len] ? "…" : "");

    if (len == 0) {
        (void) strcpy(prompt, "…");
    }

    for (i = 0; i < N_SENTENCES; i++) {
        order[i] = i;
        k = answer_random(&seed, i + 1);
        n = order[k];
        order[k] = order[i];
        order[i] = n;
    }

    b = &job->text;

    answer_expand(b, &seed, answer_openings[answer_random(&seed, 4)], prompt);

    for (i = 0; i < 12; i++) {
        buf_str(b, (i % 4 == 0) ? "\n\n" : " ");
        answer_expand(b, &seed, answer_sentences[order[i]], prompt);
    }

    buf_str(b, "\n\n");
    answer_expand(b, &seed, answer_closings[answer_random(&seed, 4)], prompt);

    if (b->failed) {
        return -1;
    }

    return answer_split(job, &seed);
}


/* a sentence starts with a capital also if a word of the lists starts it */

static void
answer_expand(buf_t *b, uint64_t *seed, const char *tmpl, const char *prompt)
{
    size_t                n, start;
    const answer_rule_t  *r;

    start = b->len;

    while (*tmpl) {

        n = strcspn(tmpl, "{");
        buf_add(b, tmpl, n);
        tmpl += n;

        if (*tmpl == '\0') {
            break;
        }

        tmpl++;
        n = strcspn(tmpl, "}");

        if (n == 6 && strncmp(tmpl, "prompt", 6) == 0) {
            buf_str(b, prompt);
        }

        for (r = answer_rules; r->name; r++) {
            if (strlen(r->name) == n && strncmp(r->name, tmpl, n) == 0) {
                buf_str(b, r->words[answer_random(seed, r->n)]);
                break;
            }
        }

        tmpl += n + (tmpl[n] == '}');
    }

    if (!b->failed) {
        b->data[start] = (char) toupper((unsigned char) b->data[start]);
    }
}


/* tokens are words, or pieces of long ones, with the space before them */

static int
answer_split(job_t *job, uint64_t *seed)
{
    char      *p;
    size_t     pos, len, max, n;

    p = job->text.data;
    len = job->text.len;

    job->ends = malloc((len + 1) * sizeof(size_t));
    if (job->ends == NULL) {
        return -1;
    }

    job->ends[0] = 0;
    job->total = 0;

    for (pos = 0; pos < len; /* void */) {

        while (pos < len && (p[pos] == ' ' || p[pos] == '\n')) {
            pos++;
        }

        max = 3 + answer_random(seed, 4);

        for (n = 0; pos < len && n < max; n++) {

            if (!isalnum((unsigned char) p[pos]) && !(p[pos] & 0x80)) {

                /* punctuation is a token of its own */

                if (n == 0) {
                    pos++;
                }

                break;
            }

            pos += utf8_len(p + pos, len - pos);
        }

        job->ends[++job->total] = pos;
    }

    return 0;
}


static size_t
answer_random(uint64_t *seed, size_t n)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;

    return (size_t) ((*seed >> 33) % n);
}


/* strings and JSON */


/* the text is valid UTF-8: it is ours, or yajl has checked it */

static size_t
utf8_len(const char *p, size_t len)
{
    size_t  n;

    for (n = 1; n < len && (p[n] & 0xc0) == 0x80; n++) { /* void */ }

    return n;
}


static void
buf_reset(buf_t *b)
{
    b->len = 0;
    b->failed = 0;
}


static void
buf_add(buf_t *b, const char *data, size_t len)
{
    char    *p;
    size_t   size;

    if (b->failed) {
        return;
    }

    if (len > b->size - b->len) {
        size = (b->size * 2 > b->len + len) ? b->size * 2 : b->len + len + 512;

        p = realloc(b->data, size);
        if (p == NULL) {
            b->failed = 1;
            return;
        }

        b->data = p;
        b->size = size;
    }

    if (len) {
        memcpy(b->data + b->len, data, len);
        b->len += len;
    }
}


static void
buf_str(buf_t *b, const char *str)
{
    buf_add(b, str, strlen(str));
}


static void
json_begin(buf_t *b)
{
    buf_add(b, "{", 1);
}


static void
json_end(buf_t *b)
{
    buf_add(b, "}", 1);
}


/* the names are ours and need no escapes */

static void
json_name(buf_t *b, const char *name)
{
    if (b->len && b->data[b->len - 1] != '{') {
        buf_add(b, ",", 1);
    }

    buf_add(b, "\"", 1);
    buf_str(b, name);
    buf_add(b, "\":", 2);
}


static void
json_quote(buf_t *b, const char *value, size_t len)
{
    char    escape[8];
    size_t  i, plain;

    buf_add(b, "\"", 1);

    plain = 0;

    for (i = 0; i < len; i++) {

        switch (value[i]) {

        case '"':
            (void) strcpy(escape, "\\\"");
            break;

        case '\\':
            (void) strcpy(escape, "\\\\");
            break;

        case '\n':
            (void) strcpy(escape, "\\n");
            break;

        default:
            if ((unsigned char) value[i] >= ' ') {
                continue;
            }

            (void) snprintf(escape, sizeof(escape), "\\u%04x",
                            (unsigned) value[i]);
        }

        buf_add(b, value + plain, i - plain);
        buf_str(b, escape);
        plain = i + 1;
    }

    buf_add(b, value + plain, len - plain);
    buf_add(b, "\"", 1);
}


static void
json_str(buf_t *b, const char *name, const char *value)
{
    json_name(b, name);
    json_quote(b, value, strlen(value));
}


static void
json_num(buf_t *b, const char *name, int64_t value)
{
    char  number[24];

    (void) snprintf(number, sizeof(number), "%" PRId64, value);

    json_name(b, name);
    buf_str(b, number);
}


/* of a list [ name, value, ... ] */

static const redisReply *
field(const redisReply *fields, const char *name)
{
    size_t  i;

    for (i = 0; i + 1 < fields->elements; i += 2) {
        if (fields->element[i]->type == REDIS_REPLY_STRING
            && fields->element[i + 1]->type == REDIS_REPLY_STRING
            && strcmp(fields->element[i]->str, name) == 0)
        {
            return fields->element[i + 1];
        }
    }

    return NULL;
}


static const char *
field_text(const redisReply *fields, const char *name)
{
    const redisReply  *value;

    value = field(fields, name);

    return value ? value->str : NULL;
}


static void
field_str(fields_t *f, const char *name, const char *value, size_t len)
{
    f->argv[f->n] = name;
    f->len[f->n] = strlen(name);
    f->n++;

    f->argv[f->n] = value;
    f->len[f->n] = len;
    f->n++;
}


static void
field_num(fields_t *f, const char *name, int64_t value)
{
    char  *number;

    number = f->numbers[f->nnumbers++];
    (void) snprintf(number, sizeof(f->numbers[0]), "%" PRId64, value);

    field_str(f, name, number, strlen(number));
}
