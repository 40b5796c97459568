
#include "ngx_http_rtbus_access.h"
#include "ngx_http_rtbus_name.h"


static ngx_int_t ngx_http_rtbus_access_rules(ngx_http_request_t *r,
    ngx_array_t *rules);
static ngx_int_t ngx_http_rtbus_access_subscribe(ngx_http_rtbus_grant_t *grant,
    ngx_http_rtbus_wanted_t *wanted, ngx_log_t *log);
static ngx_int_t ngx_http_rtbus_access_cursor(ngx_http_rtbus_grant_t *grant,
    ngx_str_t *cursor, ngx_uint_t max, ngx_http_rtbus_wanted_t *wanted,
    ngx_log_t *log);
static ngx_http_rtbus_channel_t *ngx_http_rtbus_access_find(
    ngx_http_rtbus_wanted_t *wanted, ngx_str_t *name);
static ngx_uint_t ngx_http_rtbus_access_refused(
    ngx_http_rtbus_wanted_t *wanted, ngx_str_t *name);
static ngx_http_rtbus_channel_t *ngx_http_rtbus_access_add(
    ngx_http_rtbus_wanted_t *wanted, ngx_str_t *name, ngx_int_t rc);
static ngx_http_rtbus_name_t *ngx_http_rtbus_access_push(ngx_conf_t *cf,
    ngx_array_t **names, ngx_str_t *text, ngx_uint_t wildcard);


static ngx_int_t
ngx_http_rtbus_access_rules(ngx_http_request_t *r, ngx_array_t *rules)
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
            /* a rule for "user:$rtbus_user" does not apply without a user */
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
ngx_http_rtbus_access_check(ngx_array_t *rules, ngx_str_t *user,
    ngx_str_t *channel, ngx_log_t *log)
{
    ngx_uint_t              i;
    ngx_http_rtbus_rule_t  *rule;

    if (ngx_rtbus_mailbox_channel(channel)) {
        /* "rtbus_allow *" does not include these */
        goto forbidden;
    }

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {

        if (!ngx_http_rtbus_name_fits(&rule[i].name, rule[i].prefix, channel)) {
            continue;
        }

        ngx_log_debug4(NGX_LOG_DEBUG_HTTP, log, 0,
                       "rtbus access to \"%V\" by rule:%ui \"%V\" owner:%d",
                       channel, i, &rule[i].name, (int) rule[i].owner);

        if (!rule[i].owner) {
            return NGX_OK;
        }

        if (user->len) {
            return NGX_AGAIN;
        }

        ngx_log_error(NGX_LOG_INFO, log, 0,
                      "rtbus: client without a user asked for channel "
                      "\"%V\" that is for its owner only", channel);

        return NGX_DECLINED;
    }

forbidden:

    ngx_log_debug2(NGX_LOG_DEBUG_HTTP, log, 0,
                   "rtbus access to \"%V\" by none of rules:%ui",
                   channel, rules->nelts);

    ngx_log_error(NGX_LOG_INFO, log, 0,
                  "rtbus: client asked for channel \"%V\" that no rtbus_allow "
                  "rule allows", channel);

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_rtbus_access_check_request(ngx_http_request_t *r, ngx_str_t *user,
    ngx_str_t *channel)
{
    ngx_array_t  rules;

    if (ngx_http_rtbus_access_rules(r, &rules) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_rtbus_access_check(&rules, user, channel,
                                       r->connection->log);
}


void
ngx_http_rtbus_access_foreign(ngx_str_t *channel, ngx_log_t *log)
{
    ngx_log_error(NGX_LOG_INFO, log, 0,
                  "rtbus: client asked for channel \"%V\" that is not its "
                  "user's", channel);
}


ngx_http_rtbus_rule_t *
ngx_http_rtbus_access_copy_rules(ngx_array_t *rules, ngx_str_t *user,
    ngx_log_t *log)
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
ngx_http_rtbus_access_grant(ngx_http_request_t *r, ngx_str_t *token,
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

    if (ngx_http_rtbus_access_rules(r, &grant->rules) != NGX_OK) {
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

    ngx_log_debug3(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "rtbus access grant of \"%V\" rules:%ui subscribe:%ui",
                   &grant->id.user, grant->rules.nelts,
                   grant->subscribe.nelts);

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
ngx_http_rtbus_access_channels(ngx_pool_t *pool, ngx_http_rtbus_grant_t *grant,
    ngx_str_t *cursor, ngx_uint_t max, ngx_http_rtbus_wanted_t *wanted,
    ngx_log_t *log)
{
    ngx_int_t  rc;

    wanted->error = RTBUS_REASON_NONE;
    ngx_str_null(&wanted->name);

    if (ngx_array_init(&wanted->channels, pool, 1,
                       sizeof(ngx_http_rtbus_channel_t))
        != NGX_OK
        || ngx_array_init(&wanted->refused, pool, 1, sizeof(ngx_str_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    rc = ngx_http_rtbus_access_subscribe(grant, wanted, log);

    if (rc == NGX_OK) {
        rc = ngx_http_rtbus_access_cursor(grant, cursor, max, wanted, log);
    }

    ngx_log_debug4(NGX_LOG_DEBUG_HTTP, log, 0,
                   "rtbus access cursor:%uz channels:%ui refused:%ui rc:%i",
                   cursor->len, wanted->channels.nelts,
                   wanted->refused.nelts, rc);

    return rc;
}


/* the channels of rtbus_subscribe; the same answers */

static ngx_int_t
ngx_http_rtbus_access_subscribe(ngx_http_rtbus_grant_t *grant,
    ngx_http_rtbus_wanted_t *wanted, ngx_log_t *log)
{
    size_t                     len;
    ngx_int_t                  rc;
    ngx_str_t                 *name;
    ngx_uint_t                 i;
    ngx_http_rtbus_channel_t  *channel;

    name = grant->subscribe.elts;
    len = 0;

    for (i = 0; i < grant->subscribe.nelts; i++) {

        len += ngx_http_rtbus_cursor_len(&name[i]);

        if (len > NGX_HTTP_RTBUS_CURSOR_MAX) {
            /* a cursor of all these would be too long to resume with */
            wanted->error = NGX_RTBUS_REASON_CHANNELS;
            return NGX_HTTP_BAD_REQUEST;
        }

        if (rtbus_channel_check(name[i].data, name[i].len) != RTBUS_OK) {
            ngx_log_error(NGX_LOG_INFO, log, 0,
                          "rtbus: client asked for invalid channel %V",
                          ngx_http_rtbus_text_shown(&name[i]));

            wanted->error = NGX_RTBUS_REASON_CHANNEL;
            return NGX_HTTP_BAD_REQUEST;
        }

        rc = ngx_http_rtbus_access_check(&grant->rules, &grant->id.user,
                                         &name[i], log);

        if (rc == NGX_DECLINED) {
            wanted->error = NGX_RTBUS_REASON_FORBIDDEN;
            wanted->name = name[i];
            return NGX_HTTP_FORBIDDEN;
        }

        if (ngx_http_rtbus_access_find(wanted, &name[i])) {
            continue;
        }

        channel = ngx_http_rtbus_access_add(wanted, &name[i], rc);
        if (channel == NULL) {
            return NGX_ERROR;
        }

        channel->fixed = 1;
    }

    return NGX_OK;
}


/* a cursor is not a key: the channels in it are subject to the same rules */

static ngx_int_t
ngx_http_rtbus_access_cursor(ngx_http_rtbus_grant_t *grant, ngx_str_t *cursor,
    ngx_uint_t max, ngx_http_rtbus_wanted_t *wanted, ngx_log_t *log)
{
    ngx_int_t                  rc;
    ngx_str_t                  name, *refused;
    const uint8_t             *pos;
    rtbus_cursor_entry_t       entry;
    ngx_http_rtbus_channel_t  *channel;

    pos = cursor->data;

    for ( ;; ) {

        if (wanted->channels.nelts + wanted->refused.nelts > max) {
            wanted->error = NGX_RTBUS_REASON_CHANNELS;
            return NGX_HTTP_BAD_REQUEST;
        }

        rc = rtbus_cursor_next(&entry, &pos, cursor->data + cursor->len);

        if (rc == RTBUS_AGAIN) {
            return NGX_OK;
        }

        if (rc != RTBUS_OK) {
            break;
        }

        name.len = entry.channel.len;
        name.data = entry.channel.data;

        channel = ngx_http_rtbus_access_find(wanted, &name);

        if (channel && channel->placed) {
            break;
        }

        if (channel == NULL) {

            rc = ngx_http_rtbus_access_check(&grant->rules, &grant->id.user,
                                             &name, log);

            if (rc == NGX_DECLINED) {

                if (ngx_http_rtbus_access_refused(wanted, &name)) {
                    break;
                }

                refused = ngx_array_push(&wanted->refused);
                if (refused == NULL) {
                    return NGX_ERROR;
                }

                *refused = name;
                continue;
            }

            channel = ngx_http_rtbus_access_add(wanted, &name, rc);
            if (channel == NULL) {
                return NGX_ERROR;
            }
        }

        channel->pos = entry.pos;
        channel->placed = 1;
    }

    ngx_log_error(NGX_LOG_INFO, log, 0,
                  "rtbus: client sent malformed cursor %V",
                  ngx_http_rtbus_text_shown(cursor));

    wanted->error = NGX_RTBUS_REASON_CURSOR;
    return NGX_HTTP_BAD_REQUEST;
}


static ngx_http_rtbus_channel_t *
ngx_http_rtbus_access_find(ngx_http_rtbus_wanted_t *wanted, ngx_str_t *name)
{
    ngx_uint_t                 i;
    ngx_http_rtbus_channel_t  *channel;

    channel = wanted->channels.elts;

    for (i = 0; i < wanted->channels.nelts; i++) {
        if (ngx_http_rtbus_str_eq(&channel[i].name, name)) {
            return &channel[i];
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_http_rtbus_access_refused(ngx_http_rtbus_wanted_t *wanted,
    ngx_str_t *name)
{
    ngx_str_t   *refused;
    ngx_uint_t   i;

    refused = wanted->refused.elts;

    for (i = 0; i < wanted->refused.nelts; i++) {
        if (ngx_http_rtbus_str_eq(&refused[i], name)) {
            return 1;
        }
    }

    return 0;
}


/* rc: the answer of ngx_http_rtbus_access_check() */

static ngx_http_rtbus_channel_t *
ngx_http_rtbus_access_add(ngx_http_rtbus_wanted_t *wanted, ngx_str_t *name,
    ngx_int_t rc)
{
    ngx_http_rtbus_channel_t  *channel;

    channel = ngx_array_push(&wanted->channels);
    if (channel == NULL) {
        return NULL;
    }

    ngx_memzero(channel, sizeof(ngx_http_rtbus_channel_t));

    channel->name = *name;
    channel->owned = (rc == NGX_AGAIN);

    return channel;
}


char *
ngx_http_rtbus_conf_subscribe(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_rtbus_loc_conf_t *rlcf = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_http_rtbus_access_push(cf, &rlcf->subscribe, &value[i], 0)
            == NULL)
        {
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

    name = ngx_http_rtbus_access_push(cf, &rlcf->allow, &value[1], 1);
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
ngx_http_rtbus_access_push(ngx_conf_t *cf, ngx_array_t **names, ngx_str_t *text,
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
