
/* The producer: events through Redis. */


#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "load.h"


#define TICK  200000                    /* ns, of the producer */


redisContext     *redis;
uint64_t          published;
uint64_t          owed;
histogram_t       lag;

static io_t       producer;
static io_t       timer;
static uint64_t   answered;
static char      *padding;


static void
producer_handler(io_t *io, uint32_t events)
{
    int          done;
    void        *data;
    redisReply  *reply;

    if (events & EPOLLOUT && redisBufferWrite(redis, &done) != REDIS_OK) {
        die("Redis: %s", redis->errstr);
    }

    if (events & ~EPOLLOUT) {

        if (redisBufferRead(redis) != REDIS_OK) {
            die("Redis: %s", redis->errstr);
        }

        for ( ;; ) {

            if (redisGetReplyFromReader(redis, &data) != REDIS_OK) {
                die("Redis: %s", redis->errstr);
            }

            reply = data;

            if (reply == NULL) {
                break;
            }

            if (reply->type == REDIS_REPLY_ERROR) {
                die("Redis has answered \"%s\"", reply->str);
            }

            freeReplyObject(reply);
            answered++;
        }
    }
}


static void
producer_flush(void)
{
    int  done;

    if (redisBufferWrite(redis, &done) != REDIS_OK) {
        die("Redis: %s", redis->errstr);
    }

    io_want(&producer, done ? EPOLLIN : EPOLLIN|EPOLLOUT);
}


static void
publish(uint32_t chan, uint64_t due)
{
    int          argc, n;
    char         name[16];
    size_t       len[6];
    const char  *argv[6];

    static char  *data, *message;
    static int    size;

    if (data == NULL) {
        size = o.size + 256;
        data = renew(NULL, size);
        message = renew(NULL, size + 64);
    }

    n = snprintf(data, size, "{" MARK "%08" PRIx32 ".%08" PRIx32 ".%016" PRIx64
                 "\",\"pad\":\"%s\"}", chan, numbers[chan]++, due, padding);

    argv[1] = name;
    len[1] = snprintf(name, sizeof(name), "job:%" PRIu32, chan);

    if (o.durable) {
        argv[3] = name;
        len[3] = len[1];

        argv[0] = "FCALL";
        len[0] = 5;
        argv[1] = "rtbus_publish";
        len[1] = 13;
        argv[2] = "1";
        len[2] = 1;
        argv[4] = EVENT;
        len[4] = sizeof(EVENT) - 1;
        argv[5] = data;
        len[5] = n;
        argc = 6;

    } else {
        argv[0] = "PUBLISH";
        len[0] = 7;
        argv[2] = message;
        len[2] = snprintf(message, size + 64, "{\"event\":\"" EVENT "\","
                          "\"data\":%s}", data);
        argc = 3;
    }

    if (redisAppendCommandArgv(redis, argc, argv, len) != REDIS_OK) {
        die("Redis: %s", redis->errstr);
    }

    published++;
    owed += listeners[chan];
}


static void
timer_handler(io_t *io, uint32_t events)
{
    uint64_t  n;

    if (read(io->fd, &n, sizeof(n)) == -1 && errno != EAGAIN) {
        die("timer: %s", strerror(errno));
    }
}


static void
timer_set(uint64_t ns)
{
    struct itimerspec  its;

    its.it_value.tv_sec = ns / 1000000000;
    its.it_value.tv_nsec = ns % 1000000000;
    its.it_interval = its.it_value;

    if (timerfd_settime(timer.fd, 0, &its, NULL) == -1) {
        die("timer: %s", strerror(errno));
    }
}


/* until all has come, or nothing comes any more */

void
drain(void)
{
    progress = clock_ns();

    while (delivered + gaps < owed || answered < published) {
        turn(10);

        if (now - progress > (uint64_t) (o.silence * 1e9) || nready == 0) {
            break;
        }
    }
}


/* at a rate, all channels in turn */

void
produce(double rate, double time, uint64_t limit)
{
    double    step;
    uint64_t  start, due, i;

    step = 1e9 / rate;

    /* what is due within a tick leaves together */

    timer_set(step > TICK ? (uint64_t) step : TICK);
    start = clock_ns();

    for (i = 0; i < limit; /* void */ ) {

        turn(100);

        for ( ;; ) {
            due = start + (uint64_t) (i * step);

            if (due > now || i == limit) {
                break;
            }

            if (due - start >= (uint64_t) (time * 1e9)) {
                limit = i;
                break;
            }

            if (measuring) {
                histogram_add(&lag, now - due);
            }

            publish(i++ % o.channels, due);
        }

        producer_flush();
    }

    timer_set(0);
}


/* no more than so many deliveries under way */

void
produce_window(uint64_t window, double time)
{
    uint64_t  end, i;

    now = clock_ns();
    end = now + (uint64_t) (time * 1e9);
    progress = now;

    for (i = 0; now < end; /* void */ ) {

        while (owed - delivered - gaps + listeners[i % o.channels] <= window) {
            publish(i++ % o.channels, now);
        }

        producer_flush();
        turn(100);

        if (now - progress > (uint64_t) (o.silence * 1e9)) {
            break;
        }
    }
}


/* as fast as Redis takes them */

void
produce_all(uint32_t each)
{
    uint64_t  i, n;

    n = (uint64_t) each * o.channels;

    for (i = 0; i < n; /* void */ ) {

        while (i < n && published - answered < 1000) {
            publish(i++ % o.channels, clock_ns());
        }

        producer_flush();
        turn(100);
    }

    while (answered < published) {
        turn(100);
    }
}


void
producer_init(void)
{
    redis = redisConnectNonBlock("127.0.0.1", o.redis_port);

    if (redis == NULL || redis->err) {
        die("no Redis on port %d", o.redis_port);
    }

    producer.fd = redis->fd;
    producer.handler = producer_handler;

    io_add(&producer, EPOLLIN);

    timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK|TFD_CLOEXEC);
    timer.handler = timer_handler;

    if (timer.fd == -1) {
        die("timerfd_create: %s", strerror(errno));
    }

    io_add(&timer, EPOLLIN);

    padding = renew(NULL, o.size + 1);
    memset(padding, 'x', o.size);

    /* the rest of the data is 53 bytes */

    padding[o.size > 53 ? o.size - 53 : 0] = '\0';
}


/* the server keeps a channel that nobody listens to for a while */

void
wait_for_silence(void)
{
    int            i, n;
    redisReply    *reply;
    redisContext  *control;

    control = redisConnect("127.0.0.1", o.redis_port);

    for (i = 0, n = 1; i < 150 && n && control && !control->err; i++) {

        wait_for(0.1);

        reply = redisCommand(control, "PUBSUB CHANNELS job:*");
        n = (reply && reply->type == REDIS_REPLY_ARRAY) ? reply->elements : 0;

        if (reply) {
            freeReplyObject(reply);
        }
    }

    if (control) {
        redisFree(control);
    }
}
