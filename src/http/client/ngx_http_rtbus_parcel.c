
#include "ngx_http_rtbus_parcel.h"


#define ngx_http_rtbus_parcel_word(parcel, word)                              \
    ngx_http_rtbus_parcel_arg(parcel, (const u_char *) word, sizeof(word) - 1)


static ngx_uint_t ngx_http_rtbus_parcel_single(u_char *p, size_t len);
static void ngx_http_rtbus_parcel_arg(ngx_http_rtbus_parcel_t *parcel,
    const u_char *p, size_t len);
static u_char *ngx_http_rtbus_parcel_copy(ngx_http_rtbus_parcel_t *parcel,
    u_char *dst, ngx_str_t *value);


ngx_http_rtbus_parcel_t *
ngx_http_rtbus_parcel_create(ngx_http_rtbus_asker_t *asker,
    const ngx_http_rtbus_command_rule_t *rule, ngx_http_rtbus_input_t *in,
    ngx_str_t *job, ngx_str_t *dedupe, uint64_t ack)
{
    u_char                   *p, *start;
    size_t                    len;
    ngx_str_t                *prefix, null, id;
    ngx_time_t               *tp;
    ngx_rtbus_hub_t          *hub;
    ngx_http_rtbus_parcel_t  *parcel;

    hub = &asker->worker->hub;
    prefix = &hub->prefix;

    len = prefix->len + rule->stream.len + dedupe->len + in->name.len
          + in->data.len + sizeof("null") - 1 + in->args.len + sizeof("[]") - 1
          + in->attachments.len + job->len + asker->user.len + asker->sid.len
          + asker->nsp.len + 3 * NGX_INT64_LEN;

    len += offsetof(ngx_http_rtbus_parcel_t, text);

    parcel = ngx_alloc(len, asker->log);
    if (parcel == NULL) {
        return NULL;
    }

    parcel->size = len;
    parcel->argc = 0;
    p = parcel->text;

    ngx_http_rtbus_parcel_word(parcel, "FCALL");
    ngx_http_rtbus_parcel_word(parcel, "rtbus_command");
    ngx_http_rtbus_parcel_word(parcel, "1");

    start = p;
    p = ngx_cpymem(p, prefix->data, prefix->len);
    p = ngx_cpymem(p, rule->stream.data, rule->stream.len);
    ngx_http_rtbus_parcel_arg(parcel, start, p - start);

    p = ngx_http_rtbus_parcel_copy(parcel, p, dedupe);

    if (rule->maxlen) {
        ngx_http_rtbus_parcel_word(parcel, "MAXLEN");
        start = p;
        p = ngx_sprintf(p, "%ui", rule->maxlen);
        ngx_http_rtbus_parcel_arg(parcel, start, p - start);
    }

    ngx_http_rtbus_parcel_word(parcel, "event");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &in->name);

    ngx_str_set(&null, "null");

    ngx_http_rtbus_parcel_word(parcel, "data");
    p = ngx_http_rtbus_parcel_copy(parcel, p, in->data.len ? &in->data
                                                           : &null);

    start = p;
    *p++ = '[';

    if (in->args.len) {
        p = ngx_cpymem(p, in->args.data, in->args.len);
    }

    *p++ = ']';

    if (ngx_http_rtbus_parcel_single(start, p - start)) {
        /* the data is all there is, and is not kept twice */
        p = start;

    } else {
        ngx_http_rtbus_parcel_word(parcel, "args");
        ngx_http_rtbus_parcel_arg(parcel, start, p - start);
    }

    if (in->attachments.len) {
        ngx_http_rtbus_parcel_word(parcel, "attachments");
        p = ngx_http_rtbus_parcel_copy(parcel, p, &in->attachments);
    }

    if (job->len) {
        id.len = job->len - (sizeof("job:") - 1);
        id.data = job->data + sizeof("job:") - 1;

        ngx_http_rtbus_parcel_word(parcel, "job");
        p = ngx_http_rtbus_parcel_copy(parcel, p, &id);
    }

    ngx_http_rtbus_parcel_word(parcel, "user");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &asker->user);

    ngx_http_rtbus_parcel_word(parcel, "sid");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &asker->sid);

    ngx_http_rtbus_parcel_word(parcel, "nsp");
    p = ngx_http_rtbus_parcel_copy(parcel, p, &asker->nsp);

    tp = ngx_timeofday();

    ngx_http_rtbus_parcel_word(parcel, "ts");
    start = p;
    p = ngx_sprintf(p, "%uL", (uint64_t) tp->sec * 1000 + tp->msec);
    ngx_http_rtbus_parcel_arg(parcel, start, p - start);

    ngx_http_rtbus_parcel_word(parcel, "reply");
    ngx_http_rtbus_parcel_arg(parcel, hub->mailbox.name.data,
                              hub->mailbox.name.len);

    if (ack) {
        ngx_http_rtbus_parcel_word(parcel, "ack");
        start = p;
        p = ngx_sprintf(p, "%uL", ack);
        ngx_http_rtbus_parcel_arg(parcel, start, p - start);
    }

    return parcel;
}


/* has the array just one element */

static ngx_uint_t
ngx_http_rtbus_parcel_single(u_char *p, size_t len)
{
    rtbus_str_t          raw;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    raw.data = p;
    raw.len = len;
    pos = NULL;

    return rtbus_json_next(&value, &pos, &raw) == RTBUS_OK
           && rtbus_json_next(&value, &pos, &raw) != RTBUS_OK;
}


static void
ngx_http_rtbus_parcel_arg(ngx_http_rtbus_parcel_t *parcel, const u_char *p,
    size_t len)
{
    parcel->argv[parcel->argc] = (const char *) p;
    parcel->len[parcel->argc] = len;
    parcel->argc++;
}


static u_char *
ngx_http_rtbus_parcel_copy(ngx_http_rtbus_parcel_t *parcel, u_char *dst,
    ngx_str_t *value)
{
    ngx_http_rtbus_parcel_arg(parcel, dst, value->len);

    return value->len ? ngx_cpymem(dst, value->data, value->len) : dst;
}
