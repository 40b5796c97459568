
/*
 * Load on a server that is there: clients, a producer, and what it costs.
 *
 * bench/bench starts it, see there for what is measured.  The phases of a run:
 *
 *   connect   all clients, so many at a time, until each is subscribed
 *   idle      the memory of the server, beside that before the first client
 *   publish   events through Redis, at a rate (whatever the server does with
 *             them) or so many that --window deliveries are under way
 *   resume    all clients go, --missed events are published to each channel,
 *             and all come back with their cursors, as fast as they can
 *
 * Each event has a mark: its channel, its number in the channel, and the time
 * when it was due.  Each client has to get the numbers 0, 1, 2 ... of its
 * channels; whatever is missing, comes twice or to the wrong client is found.
 *
 * CPU time is that of the processes named with --server, user and system, from
 * /proc; with loopback the kernel's work of receiving is in the sender's.
 *
 * The result is one JSON object.  Exit status: 0, 1: an event was missing,
 * doubled or misled, or a client was lost, 2: it could not be run.
 */


#include <getopt.h>
#include <signal.h>

#include "load.h"


options_t  o;


static void
pids(const char *s)
{
    char  *end;

    while (*s) {

        if (o.nservers == MAX_PIDS) {
            die("too many processes");
        }

        o.servers[o.nservers] = strtol(s, &end, 10);

        if (end == s || o.servers[o.nservers++] <= 0) {
            die("bad process id \"%s\"", s);
        }

        s = (*end == ',') ? end + 1 : end;
    }
}


static void
options(int argc, char **argv)
{
    int  opt;

    enum {
        PORT = 1, REDIS, PROTOCOL, URI, BARE, ASK, CLIENTS, CHANNELS,
        FLIGHT, RATE, WINDOW, TIME, EACH, WARM, SIZE, DURABLE, MISSED,
        SETTLE, SILENCE, TOKEN, SERVER, REDIS_PID
    };

    static const struct option  longs[] = {
        { "port",      required_argument, NULL, PORT },
        { "redis",     required_argument, NULL, REDIS },
        { "protocol",  required_argument, NULL, PROTOCOL },
        { "uri",       required_argument, NULL, URI },
        { "bare",      no_argument,       NULL, BARE },
        { "ask",       no_argument,       NULL, ASK },
        { "clients",   required_argument, NULL, CLIENTS },
        { "channels",  required_argument, NULL, CHANNELS },
        { "flight",    required_argument, NULL, FLIGHT },
        { "rate",      required_argument, NULL, RATE },
        { "window",    required_argument, NULL, WINDOW },
        { "time",      required_argument, NULL, TIME },
        { "each",      required_argument, NULL, EACH },
        { "warm",      required_argument, NULL, WARM },
        { "size",      required_argument, NULL, SIZE },
        { "durable",   no_argument,       NULL, DURABLE },
        { "missed",    required_argument, NULL, MISSED },
        { "settle",    required_argument, NULL, SETTLE },
        { "silence",   required_argument, NULL, SILENCE },
        { "token",     required_argument, NULL, TOKEN },
        { "server",    required_argument, NULL, SERVER },
        { "redis-pid", required_argument, NULL, REDIS_PID },
        { NULL, 0, NULL, 0 }
    };

    static const char *const  protocols[] = { "websocket", "sse", "socketio" };
    static const char *const  uris[] = {
        "/ws?", "/sse?", "/socket.io/?EIO=4&transport=websocket"
    };

    o.clients = 1000;
    o.channels = 1;
    o.flight = 256;
    o.size = 100;
    o.settle = 0.5;
    o.silence = 5;

    while ((opt = getopt_long(argc, argv, "", longs, NULL)) != -1) {

        switch (opt) {

        case PORT: o.port = atoi(optarg); break;
        case REDIS: o.redis_port = atoi(optarg); break;
        case URI: o.path = optarg; break;
        case BARE: o.bare = 1; break;
        case ASK: o.ask = 1; break;
        case CLIENTS: o.clients = atoi(optarg); break;
        case CHANNELS: o.channels = atoi(optarg); break;
        case FLIGHT: o.flight = atoi(optarg); break;
        case RATE: o.rate = atof(optarg); break;
        case WINDOW: o.window = strtoull(optarg, NULL, 10); break;
        case TIME: o.time = atof(optarg); break;
        case EACH: o.each = atoi(optarg); break;
        case WARM: o.warm = atof(optarg); break;
        case SIZE: o.size = atoi(optarg); break;
        case DURABLE: o.durable = 1; break;
        case MISSED: o.missed = atoi(optarg); break;
        case SETTLE: o.settle = atof(optarg); break;
        case SILENCE: o.silence = atof(optarg); break;
        case TOKEN: o.token = optarg; break;
        case SERVER: pids(optarg); break;
        case REDIS_PID: o.redis_pid = atoi(optarg); break;

        case PROTOCOL:
            for (o.proto = 0; o.proto < PROTOCOLS; o.proto++) {
                if (strcmp(optarg, protocols[o.proto]) == 0) {
                    break;
                }
            }

            if (o.proto == PROTOCOLS) {
                die("unknown protocol \"%s\"", optarg);
            }

            break;

        default:
            exit(2);
        }
    }

    if (o.port == 0 || o.redis_port == 0 || optind != argc) {
        die("--port and --redis are needed, see load.c");
    }

    if (o.clients == 0 || o.channels == 0 || o.size < 0 || o.flight == 0
        || (o.channels > o.clients && o.channels % o.clients))
    {
        die("bad number of clients or channels");
    }

    if (o.path == NULL) {
        o.path = uris[o.proto];
    }

    o.per_client = o.channels > o.clients ? o.channels / o.clients : 1;

    if (o.per_client > 1 && o.proto == SSE) {
        die("one channel is what a client over SSE can have");
    }

    if (o.proto == SIO || o.per_client > 1) {
        o.ask = 1;
    }
}


static void
print_times(const char *name, histogram_t *h)
{
    printf("\"%s\":{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f}",
           name, histogram_part(h, 0.5), histogram_part(h, 0.99),
           histogram_part(h, 0.999), h->max / 1e6);
}


/* CPU time from a to b, by n of whatever it is, in us; shares in percent */

static void
print_cost(sample_t *a, sample_t *b, double n)
{
    double  time, total, others;

    time = (b->time - a->time) / 1e9;
    total = b->server.total - a->server.total;

    others = b->busy - a->busy - total - (b->redis.total - a->redis.total)
             - (b->self.total - a->self.total);

    if (n < 1) {
        n = 1;
    }

    printf("\"time\":%.3f,\"us\":%.3f,\"user\":%.3f,\"redis\":%.3f,"
           "\"share\":{\"server\":%.1f,\"redis\":%.1f,\"load\":%.1f,"
           "\"others\":%.1f,\"steal\":%.1f}",
           time, total * 1e6 / n,
           (b->server.user - a->server.user) * 1e6 / n,
           (b->redis.total - a->redis.total) * 1e6 / n,
           total / time * 100,
           (b->redis.total - a->redis.total) / time * 100,
           (b->self.total - a->self.total) / time * 100,
           others > 0 ? others / time * 100 : 0,
           (b->steal - a->steal) / time * 100);
}


static void
run_connect(void)
{
    double    before, after, redis_before, redis_after;
    sample_t  s[2];

    before = memory(o.servers, o.nservers);
    redis_before = o.redis_pid ? memory(&o.redis_pid, 1) : 0;

    sample(&s[0]);
    connect_all(o.flight);
    sample(&s[1]);

    printf("\"connect\":{\"clients\":%" PRIu32 ",\"failed\":%" PRIu32 ",",
           nready, nfailed);
    print_cost(&s[0], &s[1], nready);
    printf(",");
    print_times("latency", &handshake);
    printf("},");

    wait_for(o.settle);

    after = memory(o.servers, o.nservers);
    redis_after = o.redis_pid ? memory(&o.redis_pid, 1) : 0;

    printf("\"idle\":{\"bytes\":%.0f,\"redis\":%.0f,\"total\":%.0f},",
           nready ? (after - before) / nready : 0,
           nready ? (redis_after - redis_before) / nready : 0, after);
}


static void
run_publish(void)
{
    double    time;
    uint64_t  was, got, events, start;
    sample_t  s[2];

    if (o.warm > 0) {
        produce(o.rate, o.warm, UINT64_MAX);
        drain();
    }

    was = delivered;
    events = published;
    reads = 0;
    measuring = 1;

    sample(&s[0]);
    start = clock_ns();

    if (o.window) {
        produce_window(o.window, o.time);

    } else {
        produce(o.rate, o.each ? 1e9 : o.time,
                o.each ? (uint64_t) o.each * o.channels : UINT64_MAX);
    }

    drain();
    sample(&s[1]);

    measuring = 0;

    got = delivered - was;
    time = (progress - start) / 1e9;

    printf("\"publish\":{\"events\":%" PRIu64 ",\"deliveries\":%" PRIu64 ","
           "\"rate\":%.0f,\"per_read\":%.2f,", published - events, got,
           got ? got / time : 0, reads ? (double) got / reads : 0);
    print_cost(&s[0], &s[1], got);
    printf(",");
    print_times("latency", &latency);
    printf(",");
    print_times("lag", &lag);
    printf("},");
}


static void
run_resume(void)
{
    double    opened;
    uint32_t  i;
    uint64_t  was, start;
    sample_t  s[2];

    for (i = 0; i < o.clients; i++) {
        client_close(&clients[i]);
    }

    wait_for_silence();
    produce_all(o.missed);

    was = delivered;
    resuming = 1;

    sample(&s[0]);
    start = clock_ns();

    connect_all(o.clients);
    opened = (clock_ns() - start) / 1e9;

    drain();
    sample(&s[1]);

    printf("\"resume\":{\"events\":%" PRIu64 ",\"opened\":%.3f,\"last\":%.3f,",
           delivered - was, opened, (progress - start) / 1e9);
    print_cost(&s[0], &s[1], delivered - was);
    printf("},");
}


int
main(int argc, char **argv)
{
    uint64_t  missing;

    options(argc, argv);

    signal(SIGPIPE, SIG_IGN);

    io_init();
    clients_init();
    producer_init();

    printf("{");

    run_connect();

    if (nfailed == 0 && (o.rate > 0 || o.window)) {
        run_publish();
    }

    if (nfailed == 0 && o.missed) {
        run_resume();
    }

    missing = owed - delivered;

    printf("\"check\":{\"missing\":%" PRIu64 ",\"doubled\":%" PRIu64 ","
           "\"misled\":%" PRIu64 ",\"failed\":%" PRIu32 ",\"lost\":%" PRIu32
           ",\"failure\":\"%s\"}}\n", missing, doubles, strays, nfailed, nlost,
           failure);

    return missing || doubles || strays || nfailed || nlost;
}
