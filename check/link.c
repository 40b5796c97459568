
/* A connection to Redis. */


#include <stdarg.h>
#include <sys/epoll.h>

#include "link.h"
#include "programs.h"


link_t  control;


static void link_handler(io_t *io, uint32_t events);


void
link_init(link_t *l)
{
    l->io.fd = -1;
    l->io.handler = link_handler;
    l->last = &l->first;
}


static void
link_down(link_t *l)
{
    call_t  *call;

    io_close(&l->io);

    l->up = 0;
    l->retry = run.now + 30;
    l->out.len = 0;

    if (l->reader) {
        redisReaderFree(l->reader);
        l->reader = NULL;
    }

    while (l->first) {
        call = l->first;
        l->first = call->next;

        if (l->first == NULL) {
            l->last = &l->first;
        }

        l->calls--;

        if (call->handler) {
            call->handler(l, call, NULL);
        }

        free(call);
    }
}


call_t *
link_call(link_t *l, call_handler_t handler, int argc, const char **argv,
    const size_t *len)
{
    char     *cmd;
    call_t   *call;
    int64_t   n;

    n = redisFormatCommandArgv(&cmd, argc, argv, len);

    if (n < 0) {
        die("no memory");
    }

    put(&l->out, cmd, n);
    redisFreeCommand(cmd);

    call = calloc(1, sizeof(call_t));

    if (call == NULL) {
        die("no memory");
    }

    call->handler = handler;

    *l->last = call;
    l->last = &call->next;
    l->calls++;

    io_want(&l->io, EPOLLIN|EPOLLOUT);

    return call;
}


/* words without blanks in them */

call_t *
link_command(link_t *l, call_handler_t handler, const char *fmt, ...)
{
    int          argc;
    char         line[256], *word, *save;
    size_t       len[16];
    va_list      args;
    const char  *argv[16];

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);

    argc = 0;

    for (word = strtok_r(line, " ", &save); word;
         word = strtok_r(NULL, " ", &save))
    {
        argv[argc] = word;
        len[argc++] = strlen(word);
    }

    return link_call(l, handler, argc, argv, len);
}


static void
link_greeted(link_t *l, call_t *call, redisReply *reply)
{
    if (reply && reply->type != REDIS_REPLY_ERROR) {
        l->up = 1;
    }
}


void
link_tick(link_t *l)
{
    if (l->io.fd != -1) {

        if (!l->up && run.now > l->retry) {
            /* it loads, or does not listen */
            link_down(l);
        }

        return;
    }

    if (run.now < l->retry || prog.redis_pid == 0) {
        return;
    }

    if (!io_connect(&l->io, prog.redis_port, 0, 0)) {
        l->retry = run.now + 30;
        return;
    }

    l->retry = run.now + 5000;
    l->reader = redisReaderCreate();

    link_command(l, link_greeted, "PING");
}


static void
link_handler(io_t *io, uint32_t events)
{
    link_t      *l = container(io, link_t, io);

    int          first;
    void        *reply;
    buf_t        b;
    call_t      *call;
    ssize_t      n;

    if (!io_write(io, &l->out)) {
        link_down(l);
        return;
    }

    io_want(io, l->out.len ? EPOLLIN|EPOLLOUT : EPOLLIN);

    if (!(events & (EPOLLIN|EPOLLHUP|EPOLLERR))) {
        return;
    }

    memset(&b, 0, sizeof(b));
    n = io_read(io, &b, 1 << 20);

    if (n > 0 && redisReaderFeed(l->reader, b.data, b.len) != REDIS_OK) {
        n = -1;
    }

    free(b.data);

    while (n > 0) {

        if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
            n = -1;
            break;
        }

        if (reply == NULL) {
            break;
        }

        call = l->first;

        if (call == NULL) {
            die("unexpected reply of Redis");
        }

        l->first = call->next;

        if (l->first == NULL) {
            l->last = &l->first;
        }

        l->calls--;
        first = !l->up;

        if (call->handler) {
            call->handler(l, call, reply);
        }

        freeReplyObject(reply);
        free(call);

        if (first && !l->up) {
            /* it is loading */
            n = -1;
            break;
        }
    }

    if (n == -1) {
        link_down(l);
    }
}


str_t
reply_text(redisReply *reply)
{
    str_t  s;

    s.data = reply->str ? reply->str : "";
    s.len = reply->len;

    return s;
}
