
#include "ngx_rtbus_forward.h"
#include "ngx_rtbus_channel.h"


/*
 * Some producers publish the same bytes to more than one channel.  So the last
 * forwarded events are remembered, in small sets by their hash.
 */

#define NGX_RTBUS_FORWARD_SETS     128
#define NGX_RTBUS_FORWARD_WAYS     4
#define NGX_RTBUS_FORWARD_SOURCES  4       /* of one event */
#define NGX_RTBUS_FORWARD_WINDOW   1000    /* ms */


typedef struct {
    ngx_str_t                    text;        /* or the path of a member */
    ngx_uint_t                   member;      /* unsigned  member:1; */
} ngx_rtbus_forward_part_t;


typedef struct {
    ngx_str_t                    pattern;     /* without the "*" */
    ngx_uint_t                   prefix;      /* there was one */
    ngx_str_t                    channel;     /* as configured */
    ngx_array_t                  parts;       /* ngx_rtbus_forward_part_t */
} ngx_rtbus_forward_rule_t;


typedef struct {
    uint32_t                     hash;        /* of the message */
    uint32_t                     target;      /* hash of the channel's name */
    uint64_t                     timestamp;
    size_t                       len;
    ngx_msec_t                   time;
    ngx_uint_t                   n;           /* 0: free */
    uint32_t                     sources[NGX_RTBUS_FORWARD_SOURCES];
} ngx_rtbus_forward_copy_t;


struct ngx_rtbus_forward_s {
    ngx_pool_t                  *pool;
    ngx_rtbus_channel_t        **seen;        /* during a message */
    ngx_uint_t                   nseen;
    ngx_rtbus_channel_t         *own;         /* seen[0], if it is the one that
                                                 the message came on */
    ngx_uint_t                   durable;     /* the event is, there */
    ngx_rtbus_forward_copy_t    *copies;
    time_t                       complained;  /* of a name that is too long */
};


static ngx_int_t ngx_rtbus_forward_parse(ngx_conf_t *cf,
    ngx_rtbus_forward_rule_t *rule);
static ngx_uint_t ngx_rtbus_forward_covers(ngx_rtbus_forward_rule_t *a,
    ngx_rtbus_forward_rule_t *b);
static ngx_int_t ngx_rtbus_forward_subscribe(ngx_rtbus_hub_t *hub,
    ngx_rtbus_forward_rule_t *rule);
static void ngx_rtbus_forward_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_pattern_t *pattern, ngx_str_t *name, u_char *data,
    size_t len);
static void ngx_rtbus_forward_event(ngx_rtbus_hub_t *hub,
    ngx_rtbus_source_t *source, rtbus_event_t *event, u_char *data, size_t len,
    ngx_rtbus_channel_t *only);
static ngx_uint_t ngx_rtbus_forward_matches(ngx_rtbus_forward_rule_t *rule,
    ngx_str_t *channel);
static void ngx_rtbus_forward_complain(ngx_rtbus_hub_t *hub,
    ngx_str_t *channel, ngx_rtbus_forward_rule_t *rule);
static ngx_int_t ngx_rtbus_forward_target(ngx_rtbus_forward_rule_t *rule,
    rtbus_str_t *data, u_char *dst, size_t *len);
static size_t ngx_rtbus_forward_member(ngx_str_t *path, rtbus_str_t *data,
    u_char *dst, size_t size);
static ngx_uint_t ngx_rtbus_forward_copied(ngx_rtbus_channel_t *ch,
    ngx_rtbus_source_t *source, rtbus_event_t *event, u_char *data,
    size_t len);
static void ngx_rtbus_forward_deliver(ngx_rtbus_channel_t *ch,
    ngx_rtbus_source_t *source, rtbus_event_t *event);
static ngx_uint_t ngx_rtbus_forward_wanted(ngx_rtbus_forward_t *fwd,
    ngx_rtbus_source_t *source, ngx_rtbus_sub_t *sub);
static ngx_uint_t ngx_rtbus_forward_gets(ngx_rtbus_sub_t *sub,
    ngx_uint_t durable, ngx_uint_t heard);


ngx_int_t
ngx_rtbus_forward_rule(ngx_conf_t *cf, ngx_array_t **rules,
    ngx_str_t *pattern, ngx_str_t *channel)
{
    ngx_uint_t                 i;
    ngx_rtbus_forward_rule_t  *rule, *other;

    if (*rules == NULL) {
        *rules = ngx_array_create(cf->pool, 2,
                                  sizeof(ngx_rtbus_forward_rule_t));
        if (*rules == NULL) {
            return NGX_ERROR;
        }
    }

    rule = ngx_array_push(*rules);
    if (rule == NULL) {
        return NGX_ERROR;
    }

    rule->pattern = *pattern;
    rule->prefix = 0;
    rule->channel = *channel;

    if (pattern->len && pattern->data[pattern->len - 1] == '*') {
        rule->pattern.len--;
        rule->prefix = 1;
    }

    if (pattern->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "empty pattern");
        return NGX_ERROR;
    }

    if (rule->pattern.len > RTBUS_CHANNEL_MAX) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "pattern \"%V\" is too long", pattern);
        return NGX_ERROR;
    }

    if (rule->pattern.len
        && rtbus_channel_check(rule->pattern.data, rule->pattern.len)
           != RTBUS_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid character in pattern \"%V\", only "
                           "A-Z a-z 0-9 _ . : - are allowed and one \"*\" at "
                           "the end", pattern);
        return NGX_ERROR;
    }

    other = (*rules)->elts;

    for (i = 0; i < (*rules)->nelts - 1; i++) {

        if (ngx_rtbus_forward_covers(&other[i], rule)
            && ngx_rtbus_forward_covers(rule, &other[i])
            && other[i].channel.len == channel->len
            && ngx_memcmp(other[i].channel.data, channel->data, channel->len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate rule \"%V %V\"", pattern, channel);
            return NGX_ERROR;
        }
    }

    return ngx_rtbus_forward_parse(cf, rule);
}


/* cuts the channel into texts and members */

static ngx_int_t
ngx_rtbus_forward_parse(ngx_conf_t *cf, ngx_rtbus_forward_rule_t *rule)
{
    size_t                     fixed;
    u_char                    *p, *last, *dot;
    ngx_rtbus_forward_part_t  *part;

    p = rule->channel.data;
    last = p + rule->channel.len;
    fixed = 0;

    if (p == last) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "empty channel name");
        return NGX_ERROR;
    }

    if (ngx_array_init(&rule->parts, cf->pool, 2,
                       sizeof(ngx_rtbus_forward_part_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    while (p < last) {

        part = ngx_array_push(&rule->parts);
        if (part == NULL) {
            return NGX_ERROR;
        }

        part->member = (*p == '{');

        if (!part->member) {

            part->text.data = p;

            while (p < last && *p != '{') {
                p++;
            }

            part->text.len = p - part->text.data;
            fixed += part->text.len;

            if (fixed > RTBUS_CHANNEL_MAX) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "channel name \"%V\" is too long",
                                   &rule->channel);
                return NGX_ERROR;
            }

            if (rtbus_channel_check(part->text.data, part->text.len)
                != RTBUS_OK)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid character in channel name \"%V\", "
                                   "only A-Z a-z 0-9 _ . : - are allowed and "
                                   "\"{member}\"", &rule->channel);
                return NGX_ERROR;
            }

            continue;
        }

        part->text.data = ++p;
        dot = p;

        while (p < last && *p != '}' && *p != '{') {

            if (*p == '.') {

                if (p == dot) {
                    break;
                }

                dot = p + 1;
            }

            p++;
        }

        if (p == last || *p != '}' || p == dot) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid member in channel name \"%V\", it "
                               "must be like \"{member}\" or "
                               "\"{member.member}\"", &rule->channel);
            return NGX_ERROR;
        }

        part->text.len = p - part->text.data;
        p++;
    }

    return NGX_OK;
}


/* does a match all that b matches */

static ngx_uint_t
ngx_rtbus_forward_covers(ngx_rtbus_forward_rule_t *a,
    ngx_rtbus_forward_rule_t *b)
{
    if (b->prefix && !a->prefix) {
        return 0;
    }

    return ngx_rtbus_forward_matches(a, &b->pattern);
}


ngx_int_t
ngx_rtbus_forward_init(ngx_rtbus_hub_t *hub)
{
    ngx_uint_t                 i, j;
    ngx_pool_t                *pool;
    ngx_rtbus_forward_t       *fwd;
    ngx_rtbus_forward_rule_t  *rule;

    if (hub->rules == NULL) {
        return NGX_OK;
    }

    pool = ngx_create_pool(1024, hub->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    fwd = ngx_pcalloc(pool, sizeof(ngx_rtbus_forward_t));
    if (fwd == NULL) {
        ngx_destroy_pool(pool);
        return NGX_ERROR;
    }

    fwd->pool = pool;
    hub->forward = fwd;

    fwd->seen = ngx_palloc(pool, (hub->rules->nelts + 1)
                                 * sizeof(ngx_rtbus_channel_t *));

    fwd->copies = ngx_pcalloc(pool, NGX_RTBUS_FORWARD_SETS
                                    * NGX_RTBUS_FORWARD_WAYS
                                    * sizeof(ngx_rtbus_forward_copy_t));

    if (fwd->seen == NULL || fwd->copies == NULL) {
        return NGX_ERROR;
    }

    /*
     * Redis sends a message once for each pattern that matches.  Of patterns
     * that overlap one covers the others, and is enough.
     */

    rule = hub->rules->elts;

    for (i = 0; i < hub->rules->nelts; i++) {

        for (j = 0; j < hub->rules->nelts; j++) {

            if (j != i && ngx_rtbus_forward_covers(&rule[j], &rule[i])
                && (j < i || !ngx_rtbus_forward_covers(&rule[i], &rule[j])))
            {
                break;
            }
        }

        if (j == hub->rules->nelts
            && ngx_rtbus_forward_subscribe(hub, &rule[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_rtbus_forward_subscribe(ngx_rtbus_hub_t *hub,
    ngx_rtbus_forward_rule_t *rule)
{
    u_char                     *p, c;
    size_t                      i;
    ngx_rtbus_redis_pattern_t  *pattern;

    pattern = ngx_pcalloc(hub->forward->pool,
                          sizeof(ngx_rtbus_redis_pattern_t));
    if (pattern == NULL) {
        return NGX_ERROR;
    }

    p = ngx_pnalloc(hub->forward->pool,
                    2 * hub->prefix.len + rule->pattern.len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    pattern->topic.name.data = p;

    /* only the prefix may have characters that mean something to Redis */

    for (i = 0; i < hub->prefix.len; i++) {
        c = hub->prefix.data[i];

        if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\') {
            *p++ = '\\';
        }

        *p++ = c;
    }

    p = ngx_cpymem(p, rule->pattern.data, rule->pattern.len);

    if (rule->prefix) {
        *p++ = '*';
    }

    pattern->topic.name.len = p - pattern->topic.name.data;
    pattern->handler = ngx_rtbus_forward_message;

    ngx_rtbus_redis_sub_add_pattern(&hub->shards.one.sub, pattern);

    return NGX_OK;
}


void
ngx_rtbus_forward_close(ngx_rtbus_hub_t *hub)
{
    ngx_log_debug0(NGX_LOG_DEBUG_EVENT, hub->log, 0,
                   "rtbus forward close");

    if (hub->forward) {
        ngx_destroy_pool(hub->forward->pool);
        hub->forward = NULL;
    }
}


static void
ngx_rtbus_forward_message(ngx_rtbus_redis_sub_t *rs,
    ngx_rtbus_redis_pattern_t *pattern, ngx_str_t *name, u_char *data,
    size_t len)
{
    ngx_str_t             channel;
    rtbus_reason_e        reason;
    rtbus_event_t         event;
    ngx_rtbus_hub_t      *hub;
    ngx_rtbus_source_t    source;
    ngx_rtbus_channel_t  *ch;

    hub = rs->data;

    ngx_log_debug2(NGX_LOG_DEBUG_EVENT, hub->log, 0,
                   "rtbus forward message of channel:\"%V\" len:%uz",
                   name, len);

    if (name->len <= hub->prefix.len) {
        return;
    }

    channel.len = name->len - hub->prefix.len;
    channel.data = name->data + hub->prefix.len;

    if (ngx_rtbus_mailbox_channel(&channel)) {
        return;
    }

    /* a message on the channel itself has arrived just before this one */

    ch = ngx_rtbus_channel_find(hub, name);

    source.channel = *name;
    source.heard = (ch && ch->topic.ready);

    if (rtbus_channel_check(channel.data, channel.len) != RTBUS_OK) {
        /* it may be anything: not for the log */
        channel = pattern->topic.name;
    }

    reason = ngx_rtbus_hub_parse(hub, &event, data, len);

    if (reason) {

        /* if the worker listens to the channel, that has logged it */

        if (!source.heard) {
            ngx_rtbus_hub_invalid(hub, &channel, reason);
        }

        return;
    }

    if (hub->schema
        && ngx_rtbus_hub_check(hub, source.heard ? NULL : &channel, &event)
           != NGX_OK)
    {
        return;
    }

    if (!source.heard) {
        ngx_rtbus_stat_add(hub->stat, received[event.pos.seq
                                               ? NGX_RTBUS_STAT_DURABLE
                                               : NGX_RTBUS_STAT_LIVE], 1);
    }

    ngx_rtbus_forward_event(hub, &source, &event, data, len, NULL);
}


void
ngx_rtbus_forward_kept(ngx_rtbus_channel_t *ch, ngx_rtbus_kept_t *kept)
{
    rtbus_event_t  event;

    /* it was an event when it was kept */

    if (ngx_rtbus_hub_parse(ch->hub, &event, kept->data, kept->len)
        == RTBUS_REASON_NONE)
    {
        ngx_rtbus_forward_event(ch->hub, &kept->source, &event, kept->data,
                                kept->len, ch);
    }
}


/* only: the channel that has kept the event; NULL: the event has just come */

static void
ngx_rtbus_forward_event(ngx_rtbus_hub_t *hub, ngx_rtbus_source_t *source,
    rtbus_event_t *event, u_char *data, size_t len, ngx_rtbus_channel_t *only)
{
    size_t                     size;
    u_char                    *p;
    ngx_int_t                  rc;
    ngx_str_t                  channel, target;
    ngx_uint_t                 i, n;
    rtbus_str_t                root;
    const uint8_t             *pos;
    rtbus_json_value_t         value;
    ngx_rtbus_channel_t       *ch;
    ngx_rtbus_forward_t       *fwd;
    ngx_rtbus_forward_rule_t  *rule;
    u_char                     buf[NGX_RTBUS_HUB_MAX_NAME];

    fwd = hub->forward;

    fwd->durable = (event->pos.epoch || event->pos.seq);
    event->pos.epoch = 0;
    event->pos.seq = 0;

    fwd->own = ngx_rtbus_channel_find(hub, &source->channel);
    fwd->nseen = 0;

    if (fwd->own) {
        fwd->seen[fwd->nseen++] = fwd->own;
    }

    /* the data of an event with several arguments is the first of them */

    root = event->data;
    pos = NULL;

    if (event->args.len
        && rtbus_json_next(&value, &pos, &event->args) == RTBUS_OK)
    {
        root = value.raw;
    }

    channel.len = source->channel.len - hub->prefix.len;
    channel.data = source->channel.data + hub->prefix.len;

    p = ngx_cpymem(buf, hub->prefix.data, hub->prefix.len);
    target.data = buf;

    rule = hub->rules->elts;

    for (i = 0; i < hub->rules->nelts; i++) {

        if (!ngx_rtbus_forward_matches(&rule[i], &channel)) {
            continue;
        }

        rc = ngx_rtbus_forward_target(&rule[i], &root, p, &size);

        if (rc == NGX_ABORT) {
            ngx_rtbus_forward_complain(hub, &channel, &rule[i]);
            continue;
        }

        if (rc != NGX_OK) {
            ngx_log_debug2(NGX_LOG_DEBUG_CORE, hub->log, 0,
                           "rtbus: event on \"%V\" has nothing for \"%V\"",
                           &channel, &rule[i].channel);
            continue;
        }

        target.len = hub->prefix.len + size;

        ch = ngx_rtbus_channel_find(hub, &target);

        if (ch == NULL || ch->topic.refused
            || (ngx_queue_empty(&ch->subs) && ngx_queue_empty(&ch->waiting)))
        {
            continue;
        }

        for (n = 0; n < fwd->nseen && fwd->seen[n] != ch; n++) {
            /* void */
        }

        if (n < fwd->nseen) {
            continue;
        }

        ngx_log_debug4(NGX_LOG_DEBUG_CORE, hub->log, 0,
                       "rtbus: event on \"%V\" is for \"%V\", heard:%ui "
                       "known:%d", &channel, &ch->name, source->heard,
                       ngx_rtbus_channel_known(ch));

        if (only == ch) {
            ngx_rtbus_forward_deliver(ch, source, event);
            return;
        }

        if (only == NULL
            && !ngx_rtbus_forward_copied(ch, source, event, data, len))
        {
            if (ngx_rtbus_channel_known(ch)) {
                ngx_rtbus_forward_deliver(ch, source, event);

            } else {
                ngx_rtbus_channel_keep(ch, source, data, len, 0);
            }
        }

        fwd->seen[fwd->nseen++] = ch;
    }
}


static ngx_uint_t
ngx_rtbus_forward_matches(ngx_rtbus_forward_rule_t *rule, ngx_str_t *channel)
{
    size_t  len;

    len = rule->pattern.len;

    if (rule->prefix ? channel->len < len : channel->len != len) {
        return 0;
    }

    return ngx_memcmp(channel->data, rule->pattern.data, len) == 0;
}


static void
ngx_rtbus_forward_complain(ngx_rtbus_hub_t *hub, ngx_str_t *channel,
    ngx_rtbus_forward_rule_t *rule)
{
    /* a producer that has gone wrong must not fill the log */

    if (hub->forward->complained == ngx_time()) {
        return;
    }

    hub->forward->complained = ngx_time();

    if (rtbus_channel_check(channel->data, channel->len) != RTBUS_OK) {
        /* it may be anything: not for the log */
        channel = &rule->pattern;
    }

    ngx_log_error(NGX_LOG_WARN, hub->log, 0,
                  "rtbus: event on channel \"%V\" is not forwarded, its data "
                  "makes a name of more than %d bytes for \"%V\"",
                  channel, RTBUS_CHANNEL_MAX, &rule->channel);
}


/*
 * Writes the name of the channel, at most RTBUS_CHANNEL_MAX bytes.  NGX_OK;
 * NGX_DECLINED: data does not have what it takes; NGX_ABORT: it has, and it is
 * too long.
 */

static ngx_int_t
ngx_rtbus_forward_target(ngx_rtbus_forward_rule_t *rule, rtbus_str_t *data,
    u_char *dst, size_t *len)
{
    size_t                     n, left;
    u_char                    *p;
    ngx_uint_t                 i;
    ngx_rtbus_forward_part_t  *part;

    p = dst;
    left = RTBUS_CHANNEL_MAX;

    part = rule->parts.elts;

    for (i = 0; i < rule->parts.nelts; i++) {

        if (part[i].member) {
            n = ngx_rtbus_forward_member(&part[i].text, data, p, left);

            if (n == 0) {
                return NGX_DECLINED;
            }

            if (n > left) {
                return NGX_ABORT;
            }

        } else {
            n = part[i].text.len;

            if (n > left) {
                return NGX_ABORT;
            }

            ngx_memcpy(p, part[i].text.data, n);
        }

        p += n;
        left -= n;
    }

    *len = p - dst;

    return NGX_OK;
}


/*
 * A string, percent-encoded as in the names of the configuration, or a whole
 * number as it stands.  Answers the length, 0: neither, size + 1: it is longer.
 */

static size_t
ngx_rtbus_forward_member(ngx_str_t *path, rtbus_str_t *data, u_char *dst,
    size_t size)
{
    size_t                n, i;
    u_char               *p, *last, *dot;
    u_char                text[RTBUS_CHANNEL_MAX];
    rtbus_str_t           raw;
    rtbus_json_member_t   member;

    raw = *data;
    p = path->data;
    last = p + path->len;

    do {
        if (raw.len == 0 || raw.data[0] != '{') {
            return 0;
        }

        dot = ngx_strlchr(p, last, '.');

        if (dot == NULL) {
            dot = last;
        }

        member.name = (char *) p;
        member.len = dot - p;

        rtbus_json_members(&raw, &member, 1);

        raw = member.value.raw;
        p = dot + 1;

    } while (dot < last);

    switch (member.value.type) {

    case RTBUS_JSON_STRING:

        n = rtbus_json_unquote(NULL, &raw);

        if (n == 0) {
            return 0;
        }

        if (n > RTBUS_CHANNEL_MAX) {
            return size + 1;
        }

        n = rtbus_json_unquote(text, &raw);

        if (rtbus_channel_encode(NULL, text, n) > size) {
            return size + 1;
        }

        return rtbus_channel_encode(dst, text, n);

    case RTBUS_JSON_NUMBER:

        n = raw.len;

        if (n > size) {
            return size + 1;
        }

        for (i = (raw.data[0] == '-'); i < n; i++) {
            if (raw.data[i] < '0' || raw.data[i] > '9') {
                return 0;
            }
        }

        ngx_memcpy(dst, raw.data, n);
        return n;

    default:
        return 0;
    }
}


/*
 * Was the same event forwarded to this channel already, from another one?  It
 * is the same if all its bytes are, a timestamp among them.  On one and the
 * same channel it may come twice, so each that was forwarded stands for one of
 * every other source.
 */

static ngx_uint_t
ngx_rtbus_forward_copied(ngx_rtbus_channel_t *ch, ngx_rtbus_source_t *source,
    rtbus_event_t *event, u_char *data, size_t len)
{
    uint32_t                   hash, from, target;
    ngx_uint_t                 i, j;
    ngx_rtbus_forward_t       *fwd;
    ngx_rtbus_forward_copy_t  *set, *copy, *oldest;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ch->hub->log, 0,
                   "rtbus forward copy came back to channel:\"%V\"", &ch->name);

    fwd = ch->hub->forward;

    if (event->timestamp == 0 || fwd->durable) {
        return 0;
    }

    hash = ngx_murmur_hash2(data, len);
    from = ngx_crc32_short(source->channel.data, source->channel.len);
    target = ch->topic.hash;

    set = fwd->copies
          + (hash ^ target) % NGX_RTBUS_FORWARD_SETS * NGX_RTBUS_FORWARD_WAYS;

    oldest = set;

    for (i = 0; i < NGX_RTBUS_FORWARD_WAYS; i++) {
        copy = &set[i];

        if (copy->n == 0
            || ngx_current_msec - copy->time > NGX_RTBUS_FORWARD_WINDOW)
        {
            copy->n = 0;
            oldest = copy;
            continue;
        }

        if (oldest->n
            && (ngx_msec_int_t) (copy->time - oldest->time) < 0)
        {
            oldest = copy;
        }

        if (copy->hash != hash || copy->target != target || copy->len != len
            || copy->timestamp != event->timestamp)
        {
            continue;
        }

        for (j = 0; j < copy->n && copy->sources[j] != from; j++) {
            /* void */
        }

        if (j == copy->n && j < NGX_RTBUS_FORWARD_SOURCES) {
            copy->sources[copy->n++] = from;
            return 1;
        }
    }

    oldest->hash = hash;
    oldest->target = target;
    oldest->timestamp = event->timestamp;
    oldest->len = len;
    oldest->time = ngx_current_msec;
    oldest->n = 1;
    oldest->sources[0] = from;

    return 0;
}


/* the channel stays where it is */

static void
ngx_rtbus_forward_deliver(ngx_rtbus_channel_t *ch, ngx_rtbus_source_t *source,
    rtbus_event_t *event)
{
    ngx_queue_t          *q;
    ngx_rtbus_msg_t       msg;
    ngx_rtbus_sub_t      *sub;
    ngx_rtbus_frame_t    *frame;
    ngx_rtbus_forward_t  *fwd;

    ngx_log_debug1(NGX_LOG_DEBUG_EVENT, ch->hub->log, 0,
                   "rtbus forward delivers on channel:\"%V\"", &ch->name);

    fwd = ch->hub->forward;

    msg.event = event;
    msg.channel = ch->name;
    msg.pos = ch->pos;
    msg.frames = NULL;

    for (q = ngx_queue_head(&ch->subs);
         q != ngx_queue_sentinel(&ch->subs);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (ngx_rtbus_forward_wanted(fwd, source, sub)) {
            frame = ngx_rtbus_msg_frame(&msg, sub->format);

            sub->handlers->deliver(sub, frame);
        }
    }

    for (q = ngx_queue_head(&ch->waiting);
         ch->catchers && q != ngx_queue_sentinel(&ch->waiting);
         q = ngx_queue_next(q))
    {
        sub = ngx_queue_data(q, ngx_rtbus_sub_t, queue);

        if (sub->catching && ngx_rtbus_forward_wanted(fwd, source, sub)) {
            ngx_rtbus_channel_catch(sub, &msg);
        }
    }

    ngx_rtbus_msg_done(&msg);
}


/* the subscriber does not get it from another channel */

static ngx_uint_t
ngx_rtbus_forward_wanted(ngx_rtbus_forward_t *fwd, ngx_rtbus_source_t *source,
    ngx_rtbus_sub_t *sub)
{
    ngx_uint_t        i;
    ngx_rtbus_sub_t  *other;

    for (i = 0; i < fwd->nseen; i++) {

        other = sub->handlers->other(sub, fwd->seen[i]);

        if (other == NULL) {
            continue;
        }

        if (fwd->seen[i] == fwd->own
            ? ngx_rtbus_forward_gets(other, fwd->durable, source->heard)
            : ngx_rtbus_forward_gets(other, 0, 1))
        {
            return 0;
        }
    }

    return 1;
}


/*
 * Does the subscriber get this event from its own channel?  heard: it has come
 * there as a message; if not, it may still come from the stream.  Where that
 * cannot be told yet the answer is yes: better at most once than twice.
 */

static ngx_uint_t
ngx_rtbus_forward_gets(ngx_rtbus_sub_t *sub, ngx_uint_t durable,
    ngx_uint_t heard)
{
    if (sub->joined || sub->catching) {
        return durable || heard;
    }

    if (sub->catcher) {
        return 1;
    }

    if (sub->placed) {
        /* a replay, of what is in the stream */
        return durable;
    }

    /* it begins where the channel is; what is kept by then comes after it */

    return heard && !sub->held && !ngx_rtbus_channel_known(sub->ch);
}
