
/* Requests over HTTP. */


#include "programs.h"
#include "request.h"
#include "verdict.h"


#define SLOTS  64


static request_t  requests[SLOTS];


void
requests_init(void)
{
    int  i;

    for (i = 0; i < SLOTS; i++) {
        requests[i].http.io.fd = -1;
    }
}


static void
request_end(http_t *h, int status, str_t body)
{
    request_t  *r = container(h, request_t, http);

    http_close(h);

    r->handler(r, status, body);

    memset(r, 0, sizeof(request_t));
    h->io.fd = -1;
}


request_t *
request_send(buf_t *request, request_handler_t handler)
{
    int         i;
    request_t  *r;

    for (i = 0; i < SLOTS; i++) {
        r = &requests[i];

        if (r->used) {
            continue;
        }

        http_init(&r->http, request_end);

        if (!http_send(&r->http, request, prog.nginx_port, 0)) {
            return NULL;
        }

        r->used = 1;
        r->since = run.now;
        r->handler = handler;

        return r;
    }

    return NULL;
}


int
requests_waiting(request_handler_t handler)
{
    int  i, n;

    for (n = 0, i = 0; i < SLOTS; i++) {
        n += requests[i].used && requests[i].handler == handler;
    }

    return n;
}


void
requests_tick(void)
{
    int    i;
    str_t  none = { "", 0 };

    for (i = 0; i < SLOTS; i++) {
        if (requests[i].used && run.now - requests[i].since > SILENCE) {
            violation(NULL, requests[i].chan, "no answer over HTTP in %d s",
                      SILENCE / 1000);
            request_end(&requests[i].http, 0, none);
        }
    }
}


/* nginx would wait for a request that has not been sent yet */

void
requests_close(void)
{
    int  i;

    for (i = 0; i < SLOTS; i++) {
        io_close(&requests[i].http.io);
    }
}
