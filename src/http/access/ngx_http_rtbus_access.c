
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_reply.h"


/* 2^53 */
#define NGX_HTTP_RTBUS_MAX_JOB  9007199254740992ULL


static size_t ngx_http_rtbus_name_piece(u_char *p, u_char *last,
    ngx_uint_t *variable);
static size_t ngx_http_rtbus_name_variable(u_char *p, u_char *last);
static ngx_uint_t ngx_http_rtbus_name_begins(ngx_str_t *name,
    const char *prefix, size_t len);
static ngx_int_t ngx_http_rtbus_name_encode(ngx_http_request_t *r,
    ngx_http_rtbus_name_part_t *part, ngx_str_t *value);
static ngx_http_rtbus_channel_t *ngx_http_rtbus_channel_find(
    ngx_array_t *channels, ngx_str_t *name);
static ngx_http_rtbus_name_t *ngx_http_rtbus_name_push(ngx_conf_t *cf,
    ngx_array_t **names, ngx_str_t *text, ngx_uint_t wildcard);


ngx_int_t
ngx_http_rtbus_name_compile(ngx_conf_t *cf, ngx_str_t *text,
    ngx_uint_t wildcard, ngx_http_rtbus_name_t *name)
{
    u_char      *p, *last;
    size_t       fixed;
    ngx_str_t    value, piece;
    ngx_uint_t   prefix, variable;

    value = *text;
    prefix = (wildcard && value.len && value.data[value.len - 1] == '*');

    if (prefix) {
        value.len--;
    }

    if (value.len == 0 && !prefix) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "empty channel name");
        return NGX_ERROR;
    }

    /* what stands there in any case has to be good */

    fixed = 0;
    p = value.data;
    last = p + value.len;

    while (p < last) {

        piece.len = ngx_http_rtbus_name_piece(p, last, &variable);
        piece.data = p;
        p += piece.len;

        if (variable) {
            continue;
        }

        fixed += piece.len;

        if (fixed > RTBUS_CHANNEL_MAX) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "channel name \"%V\" is too long", text);
            return NGX_ERROR;
        }

        if (rtbus_channel_check(piece.data, piece.len) != RTBUS_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid character in channel name \"%V\", "
                               "only A-Z a-z 0-9 _ . : - are allowed%s",
                               text, wildcard ? " and one \"*\" at the end"
                                              : "");
            return NGX_ERROR;
        }
    }

    if (ngx_http_rtbus_name_cut(cf, &value, name) != NGX_OK) {
        return NGX_ERROR;
    }

    name->prefix = prefix;
    name->channel = 1;

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_name_cut(ngx_conf_t *cf, ngx_str_t *text,
    ngx_http_rtbus_name_t *name)
{
    u_char                            *p, *last;
    ngx_str_t                          value;
    ngx_uint_t                         variable;
    ngx_http_rtbus_name_part_t        *part;
    ngx_http_compile_complex_value_t   ccv;

    name->prefix = 0;
    name->owner = 0;
    name->channel = 0;

    if (ngx_array_init(&name->parts, cf->pool, 2,
                       sizeof(ngx_http_rtbus_name_part_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    p = text->data;
    last = p + text->len;

    while (p < last) {

        part = ngx_array_push(&name->parts);
        if (part == NULL) {
            return NGX_ERROR;
        }

        value.len = ngx_http_rtbus_name_piece(p, last, &variable);
        value.data = p;
        p += value.len;

        part->variable = variable;
        part->encoded = (variable
                         && ngx_http_rtbus_name_begins(&value, "arg_", 4));
        part->asked = (variable
                       && ((value.data[1] >= '1' && value.data[1] <= '9')
                           || ngx_http_rtbus_name_begins(&value, "rtbus_body_",
                                                         11)));

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &value;
        ccv.complex_value = &part->value;

        if (ngx_http_compile_complex_value(&ccv) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* the length of the variable at p, or of the text before the next one */

static size_t
ngx_http_rtbus_name_piece(u_char *p, u_char *last, ngx_uint_t *variable)
{
    u_char  *start;
    size_t   len;

    len = ngx_http_rtbus_name_variable(p, last);
    *variable = (len != 0);

    if (len) {
        return len;
    }

    start = p++;

    while (p < last && ngx_http_rtbus_name_variable(p, last) == 0) {
        p++;
    }

    return p - start;
}


/* the length of a variable's reference at p, 0 when there is none */

static size_t
ngx_http_rtbus_name_variable(u_char *p, u_char *last)
{
    u_char      *start;
    ngx_uint_t   brace;

    if (*p != '$' || p + 1 == last) {
        return 0;
    }

    start = p++;

    if (*p >= '1' && *p <= '9') {
        /* a capture has one digit, and what follows is text */
        return 2;
    }

    brace = (*p == '{');

    for (p += brace; p < last; p++) {

        if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
            || (*p >= '0' && *p <= '9') || *p == '_')
        {
            continue;
        }

        if (brace && *p == '}') {
            p++;
        }

        break;
    }

    return p - start;
}


/* "$<prefix>..." or "${<prefix>..." */

static ngx_uint_t
ngx_http_rtbus_name_begins(ngx_str_t *name, const char *prefix, size_t len)
{
    size_t  skip;

    skip = (name->len > 2 && name->data[1] == '{') ? 2 : 1;

    return name->len > skip + len
           && ngx_strncasecmp(name->data + skip, (u_char *) prefix, len) == 0;
}


ngx_int_t
ngx_http_rtbus_name_eval(ngx_http_request_t *r, ngx_http_rtbus_name_t *name,
    ngx_str_t *value)
{
    u_char                      *p;
    ngx_int_t                    rc;
    ngx_str_t                    piece;
    ngx_uint_t                   i;
    ngx_http_rtbus_name_part_t  *part;

    part = name->parts.elts;

    if (name->parts.nelts == 1 && !part->variable) {
        *value = part->value.value;
        return NGX_OK;
    }

    rc = NGX_OK;
    ngx_str_set(value, "");

    for (i = 0; i < name->parts.nelts; i++) {

        if (ngx_http_complex_value(r, &part[i].value, &piece) != NGX_OK) {
            return NGX_ERROR;
        }

        if (part[i].variable && piece.len == 0) {
            rc = NGX_DECLINED;
            continue;
        }

        if (part[i].encoded && ngx_http_rtbus_decode(r, &piece) != NGX_OK) {
            return NGX_ERROR;
        }

        if (name->channel && name->parts.nelts > 1
            && ngx_http_rtbus_name_encode(r, &part[i], &piece) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (value->len == 0) {
            *value = piece;
            continue;
        }

        p = ngx_pnalloc(r->pool, value->len + piece.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(ngx_cpymem(p, value->data, value->len), piece.data,
                   piece.len);

        value->data = p;
        value->len += piece.len;
    }

    return rc;
}


/*
 * Whoever a client is, there is a channel for him.  What he has asked for himself,
 * in the path or an argument, is a name or it is not.
 */

static ngx_int_t
ngx_http_rtbus_name_encode(ngx_http_request_t *r,
    ngx_http_rtbus_name_part_t *part, ngx_str_t *value)
{
    u_char  *p;
    size_t   len;

    if (!part->variable || part->encoded || part->asked) {
        return NGX_OK;
    }

    len = rtbus_channel_encode(NULL, value->data, value->len);

    if (len == value->len) {
        return NGX_OK;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    (void) rtbus_channel_encode(p, value->data, value->len);

    value->data = p;
    value->len = len;

    return NGX_OK;
}


ngx_table_elt_t *
ngx_http_rtbus_header_in(ngx_http_request_t *r, const char *name, size_t len)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == len
            && ngx_strncmp(h[i].lowcase_key, name, len) == 0)
        {
            return &h[i];
        }
    }
}


ngx_int_t
ngx_http_rtbus_rules(ngx_http_request_t *r, ngx_array_t *rules)
{
    ngx_int_t                    rc;
    ngx_uint_t                   i;
    ngx_http_rtbus_name_t       *name;
    ngx_http_rtbus_rule_t       *rule;
    ngx_http_rtbus_loc_conf_t   *rlcf;
    ngx_http_rtbus_name_part_t  *part;

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    if (rlcf->allow == NULL) {
        ngx_memzero(rules, sizeof(ngx_array_t));
        return NGX_OK;
    }

    if (ngx_array_init(rules, r->pool, rlcf->allow->nelts,
                       sizeof(ngx_http_rtbus_rule_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    name = rlcf->allow->elts;

    for (i = 0; i < rlcf->allow->nelts; i++) {

        rule = ngx_array_push(rules);
        if (rule == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_http_rtbus_name_eval(r, &name[i], &rule->name);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (rc == NGX_DECLINED) {
            /* a rule for "user:$rtbus_user" says nothing of nobody */
            rules->nelts--;
            continue;
        }

        part = name[i].parts.elts;

        rule->prefix = name[i].prefix;
        rule->owner = name[i].owner;
        rule->fixed = (name[i].parts.nelts == 0
                       || (name[i].parts.nelts == 1 && !part->variable));
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_check_rules(ngx_array_t *rules, ngx_str_t *user,
    ngx_str_t *channel, ngx_log_t *log)
{
    ngx_uint_t              i;
    ngx_http_rtbus_rule_t  *rule;

    if (ngx_rtbus_mailbox_channel(channel)) {
        /* whatever "rtbus_allow *" may say */
        goto forbidden;
    }

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {

        if (rule[i].name.len > channel->len
            || (!rule[i].prefix && rule[i].name.len != channel->len))
        {
            continue;
        }

        if (ngx_memcmp(channel->data, rule[i].name.data, rule[i].name.len)
            != 0)
        {
            continue;
        }

        if (!rule[i].owner) {
            return NGX_OK;
        }

        if (user->len) {
            return NGX_AGAIN;
        }

        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "client without a user asked for channel \"%V\" that is "
                      "for its owner only", channel);

        return NGX_DECLINED;
    }

forbidden:

    ngx_log_error(NGX_LOG_INFO, log, 0,
                  "client asked for channel \"%V\" that no rtbus_allow rule "
                  "allows", channel);

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_rtbus_check_channel(ngx_http_request_t *r, ngx_str_t *user,
    ngx_str_t *channel)
{
    ngx_array_t  rules;

    if (ngx_http_rtbus_rules(r, &rules) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_check_rules(&rules, user, channel,
                                      r->connection->log);
}


void
ngx_http_rtbus_foreign(ngx_str_t *channel, ngx_log_t *log)
{
    ngx_log_error(NGX_LOG_INFO, log, 0,
                  "client asked for channel \"%V\" that is not its user's",
                  channel);
}


ngx_int_t
ngx_http_rtbus_grant(ngx_http_request_t *r, ngx_str_t *token,
    ngx_http_rtbus_grant_t *grant)
{
    ngx_int_t                   rc;
    ngx_str_t                  *name;
    ngx_uint_t                  i, n;
    ngx_http_rtbus_name_t      *names;
    ngx_http_rtbus_loc_conf_t  *rlcf;

    rc = ngx_http_rtbus_identify(r, token, &grant->id);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_rtbus_rules(r, &grant->rules) != NGX_OK) {
        return NGX_ERROR;
    }

    rlcf = ngx_http_get_module_loc_conf(r, ngx_http_rtbus_module);

    n = rlcf->subscribe ? rlcf->subscribe->nelts : 0;
    names = n ? rlcf->subscribe->elts : NULL;

    if (ngx_array_init(&grant->subscribe, r->pool, n + 1, sizeof(ngx_str_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {

        name = ngx_array_push(&grant->subscribe);
        if (name == NULL) {
            return NGX_ERROR;
        }

        rc = ngx_http_rtbus_name_eval(r, &names[i], name);

        if (rc == NGX_DECLINED) {
            grant->subscribe.nelts--;
            continue;
        }

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/*
 * {"user":"<base64>","expires":<s>,"rules":["<name>",<flags>,...],
 *  "subscribe":["<channel>",...]}
 */

void
ngx_http_rtbus_access_write(ngx_http_rtbus_text_t *text,
    ngx_http_rtbus_grant_t *grant)
{
    ngx_str_t              *name;
    ngx_uint_t              i;
    ngx_http_rtbus_rule_t  *rule;

    ngx_http_rtbus_text_lit(text, "{\"user\":");
    ngx_http_rtbus_text_base64(text, &grant->id.user);
    ngx_http_rtbus_text_lit(text, ",\"expires\":");
    ngx_http_rtbus_text_number(text, grant->id.expires);
    ngx_http_rtbus_text_lit(text, ",\"rules\":[");

    rule = grant->rules.elts;

    for (i = 0; i < grant->rules.nelts; i++) {

        if (i) {
            ngx_http_rtbus_text_lit(text, ",");
        }

        ngx_http_rtbus_text_quote(text, rule[i].name.data, rule[i].name.len);
        ngx_http_rtbus_text_lit(text, ",");
        ngx_http_rtbus_text_number(text, rule[i].prefix | rule[i].owner << 1);
    }

    ngx_http_rtbus_text_lit(text, "],\"subscribe\":[");

    name = grant->subscribe.elts;

    for (i = 0; i < grant->subscribe.nelts; i++) {

        if (i) {
            ngx_http_rtbus_text_lit(text, ",");
        }

        ngx_http_rtbus_text_quote(text, name[i].data, name[i].len);
    }

    ngx_http_rtbus_text_lit(text, "]}");
}


/* the reason, or null */

void
ngx_http_rtbus_access_refuse(ngx_http_rtbus_text_t *text,
    ngx_http_rtbus_grant_t *grant)
{
    if (grant->id.reason == NULL) {
        ngx_http_rtbus_text_lit(text, "null");
        return;
    }

    ngx_http_rtbus_text_quote(text, grant->id.reason,
                              ngx_strlen(grant->id.reason));
}


ngx_int_t
ngx_http_rtbus_access_read(ngx_pool_t *pool, rtbus_str_t *json,
    ngx_http_rtbus_grant_t *grant)
{
    char                   *reason;
    uint64_t                n;
    ngx_int_t               rc;
    ngx_str_t              *name;
    const uint8_t          *pos;
    rtbus_json_value_t      value;
    rtbus_json_member_t     m[] = { rtbus_json_member("user"),
                                    rtbus_json_member("expires"),
                                    rtbus_json_member("rules"),
                                    rtbus_json_member("subscribe") };
    ngx_http_rtbus_rule_t  *rule;

    ngx_memzero(&grant->id, sizeof(ngx_http_rtbus_identity_t));

    if (json->len && json->data[0] == '"') {

        reason = ngx_pcalloc(pool, json->len);
        if (reason == NULL) {
            return NGX_ERROR;
        }

        (void) rtbus_json_unquote((u_char *) reason, json);
        grant->id.reason = reason;

        return NGX_DECLINED;
    }

    if (json->len == 0 || json->data[0] != '{') {
        return NGX_DECLINED;
    }

    rtbus_json_members(json, m, 4);

    if (m[2].value.type != RTBUS_JSON_ARRAY
        || m[3].value.type != RTBUS_JSON_ARRAY
        || rtbus_json_uint(&m[1].value.raw, &n) != RTBUS_OK)
    {
        return NGX_DECLINED;
    }

    grant->id.expires = (time_t) n;

    rc = ngx_http_rtbus_text_debase64(pool, &grant->id.user, &m[0].value);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_array_init(&grant->rules, pool, 4, sizeof(ngx_http_rtbus_rule_t))
        != NGX_OK
        || ngx_array_init(&grant->subscribe, pool, 2, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &m[2].value.raw) == RTBUS_OK) {

        rule = ngx_array_push(&grant->rules);

        if (rule == NULL
            || ngx_http_rtbus_text_unquote(pool, &rule->name, &value)
               == NGX_ERROR)
        {
            return NGX_ERROR;
        }

        if (rtbus_json_next(&value, &pos, &m[2].value.raw) != RTBUS_OK
            || rtbus_json_uint(&value.raw, &n) != RTBUS_OK)
        {
            return NGX_DECLINED;
        }

        rule->prefix = (n & 1);
        rule->owner = (n & 2) >> 1;
        rule->fixed = 0;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, &m[3].value.raw) == RTBUS_OK) {

        name = ngx_array_push(&grant->subscribe);

        if (name == NULL
            || ngx_http_rtbus_text_unquote(pool, name, &value) == NGX_ERROR)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_rtbus_copy_str(ngx_pool_t *pool, ngx_str_t *dst, ngx_str_t *src)
{
    u_char  *p;

    dst->len = src->len;

    if (src->len == 0) {
        dst->data = NULL;
        return NGX_OK;
    }

    p = ngx_pnalloc(pool, src->len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(p, src->data, src->len);
    dst->data = p;

    return NGX_OK;
}


ngx_http_rtbus_rule_t *
ngx_http_rtbus_copy_rules(ngx_array_t *rules, ngx_str_t *user, ngx_log_t *log)
{
    u_char                 *p;
    size_t                  len;
    ngx_uint_t              i;
    ngx_http_rtbus_rule_t  *rule;

    rule = rules->elts;
    len = rules->nelts * sizeof(ngx_http_rtbus_rule_t) + user->len;

    for (i = 0; i < rules->nelts; i++) {
        if (!rule[i].fixed) {
            len += rule[i].name.len;
        }
    }

    /* there may be neither */

    rule = ngx_alloc(ngx_max(len, 1), log);
    if (rule == NULL) {
        return NULL;
    }

    p = (u_char *) (rule + rules->nelts);

    if (rules->nelts) {
        ngx_memcpy(rule, rules->elts,
                   rules->nelts * sizeof(ngx_http_rtbus_rule_t));
    }

    for (i = 0; i < rules->nelts; i++) {

        if (!rule[i].fixed && rule[i].name.len) {
            ngx_memcpy(p, rule[i].name.data, rule[i].name.len);
            rule[i].name.data = p;
            p += rule[i].name.len;
        }
    }

    if (user->len) {
        ngx_memcpy(p, user->data, user->len);
        user->data = p;
    }

    return rule;
}


ngx_int_t
ngx_http_rtbus_channels(ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor,
    ngx_uint_t max, ngx_log_t *log, ngx_array_t *channels,
    ngx_array_t *refused, const char **error, ngx_str_t *name)
{
    ngx_int_t                  rc;
    size_t                     len;
    ngx_str_t                  value, *names, *other;
    ngx_uint_t                 i;
    const uint8_t             *pos;
    rtbus_cursor_entry_t       entry;
    ngx_http_rtbus_channel_t  *channel;

    ngx_str_null(name);

    names = grant->subscribe.elts;
    len = 0;

    for (i = 0; i < grant->subscribe.nelts; i++) {

        value = names[i];

        len += ngx_http_rtbus_cursor_len(&value);

        if (len > NGX_HTTP_RTBUS_CURSOR_MAX) {
            /* it could not resume */
            *error = "too many channels";
            return NGX_HTTP_BAD_REQUEST;
        }

        if (rtbus_channel_check(value.data, value.len) != RTBUS_OK) {
            ngx_log_error(NGX_LOG_INFO, log, 0,
                          "client asked for invalid channel %V",
                          ngx_http_rtbus_text_shown(&value));

            *error = "bad channel";
            return NGX_HTTP_BAD_REQUEST;
        }

        rc = ngx_http_rtbus_check_rules(&grant->rules, &grant->id.user,
                                        &value, log);

        if (rc == NGX_DECLINED) {
            *error = "forbidden";
            *name = value;
            return NGX_HTTP_FORBIDDEN;
        }

        if (ngx_http_rtbus_channel_find(channels, &value)) {
            continue;
        }

        channel = ngx_array_push(channels);
        if (channel == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(channel, sizeof(ngx_http_rtbus_channel_t));
        channel->name = value;
        channel->owned = (rc == NGX_AGAIN);
        channel->fixed = 1;
    }

    /* a cursor is not a key: what it names is subject to the same rules */

    pos = cursor->data;

    for ( ;; ) {

        if (channels->nelts + refused->nelts > max) {
            *error = "too many channels";
            return NGX_HTTP_BAD_REQUEST;
        }

        rc = rtbus_cursor_next(&entry, &pos, cursor->data + cursor->len);

        if (rc == RTBUS_AGAIN) {
            return NGX_OK;
        }

        if (rc != RTBUS_OK) {
            goto bad;
        }

        value.len = entry.channel.len;
        value.data = entry.channel.data;

        channel = ngx_http_rtbus_channel_find(channels, &value);

        if (channel && channel->placed) {
            goto bad;
        }

        if (channel == NULL) {

            rc = ngx_http_rtbus_check_rules(&grant->rules, &grant->id.user,
                                            &value, log);

            if (rc == NGX_DECLINED) {
                other = refused->elts;

                for (i = 0; i < refused->nelts; i++) {
                    if (other[i].len == value.len
                        && ngx_memcmp(other[i].data, value.data, value.len)
                           == 0)
                    {
                        goto bad;
                    }
                }

                other = ngx_array_push(refused);
                if (other == NULL) {
                    return NGX_ERROR;
                }

                *other = value;
                continue;
            }

            channel = ngx_array_push(channels);
            if (channel == NULL) {
                return NGX_ERROR;
            }

            ngx_memzero(channel, sizeof(ngx_http_rtbus_channel_t));
            channel->name = value;
            channel->owned = (rc == NGX_AGAIN);
        }

        channel->pos = entry.pos;
        channel->placed = 1;
    }

bad:

    ngx_log_error(NGX_LOG_INFO, log, 0,
                  "client sent malformed cursor %V",
                  ngx_http_rtbus_text_shown(cursor));

    *error = "bad cursor";
    return NGX_HTTP_BAD_REQUEST;
}


static ngx_http_rtbus_channel_t *
ngx_http_rtbus_channel_find(ngx_array_t *channels, ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_rtbus_channel_t  *channel;

    channel = channels->elts;

    for (i = 0; i < channels->nelts; i++) {
        if (channel[i].name.len == name->len
            && ngx_memcmp(channel[i].name.data, name->data, name->len) == 0)
        {
            return &channel[i];
        }
    }

    return NULL;
}


ngx_int_t
ngx_http_rtbus_job(rtbus_json_value_t *value, u_char *buf, ngx_str_t *channel)
{
    u_char    *p;
    size_t     len;
    uint64_t   n;

    if (value->type == RTBUS_JSON_STRING) {
        len = rtbus_json_unquote(NULL, &value->raw);

    } else if (value->type == RTBUS_JSON_NUMBER
               && rtbus_json_uint(&value->raw, &n) == RTBUS_OK
               && n <= NGX_HTTP_RTBUS_MAX_JOB)
    {
        len = value->raw.len;

    } else {
        return NGX_DECLINED;
    }

    if (len == 0 || len > RTBUS_CHANNEL_MAX - (sizeof("job:") - 1)) {
        return NGX_DECLINED;
    }

    p = ngx_cpymem(buf, "job:", sizeof("job:") - 1);

    if (value->type == RTBUS_JSON_STRING) {
        (void) rtbus_json_unquote(p, &value->raw);

    } else {
        ngx_memcpy(p, value->raw.data, len);
    }

    channel->data = buf;
    channel->len = sizeof("job:") - 1 + len;

    return (rtbus_channel_check(buf, channel->len) == RTBUS_OK)
           ? NGX_OK : NGX_DECLINED;
}


ngx_int_t
ngx_http_rtbus_arg(ngx_http_request_t *r, const char *name, ngx_str_t *value)
{
    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), value) != NGX_OK) {
        ngx_str_null(value);
        return NGX_OK;
    }

    return ngx_http_rtbus_decode(r, value);
}


ngx_int_t
ngx_http_rtbus_decode(ngx_http_request_t *r, ngx_str_t *value)
{
    u_char  *dst, *src;

    if (ngx_strlchr(value->data, value->data + value->len, '%') == NULL) {
        return NGX_OK;
    }

    dst = ngx_pnalloc(r->pool, value->len);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    src = value->data;
    value->data = dst;

    ngx_unescape_uri(&dst, &src, value->len, 0);

    value->len = dst - value->data;

    return NGX_OK;
}


char *
ngx_http_rtbus_conf_subscribe(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_http_rtbus_name_push(cf, &rlcf->subscribe, &value[i], 0) == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_http_rtbus_conf_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t              *value;
    ngx_http_rtbus_name_t  *name;

    value = cf->args->elts;

    name = ngx_http_rtbus_name_push(cf, &rlcf->allow, &value[1], 1);
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    if (cf->args->nelts == 3) {

        if (ngx_strcmp(value[2].data, "owner") != 0) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\", it must be "
                               "\"owner\"", &value[2]);
            return NGX_CONF_ERROR;
        }

        name->owner = 1;
    }

    return NGX_CONF_OK;
}


/* adds a name to a list of the configuration; NULL: logged */

static ngx_http_rtbus_name_t *
ngx_http_rtbus_name_push(ngx_conf_t *cf, ngx_array_t **names, ngx_str_t *text,
    ngx_uint_t wildcard)
{
    ngx_http_rtbus_name_t  *name;

    if (*names == NGX_CONF_UNSET_PTR) {
        *names = ngx_array_create(cf->pool, 2, sizeof(ngx_http_rtbus_name_t));
        if (*names == NULL) {
            return NULL;
        }
    }

    name = ngx_array_push(*names);
    if (name == NULL) {
        return NULL;
    }

    if (ngx_http_rtbus_name_compile(cf, text, wildcard, name) != NGX_OK) {
        return NULL;
    }

    return name;
}
