
#include "ngx_http_rtbus_outcome.h"


size_t
ngx_http_rtbus_outcome_json(ngx_http_rtbus_outcome_t *outcome, u_char *dst)
{
    u_char      *p;
    size_t       len;
    const char  *text;

    if (outcome->error == RTBUS_REASON_NONE) {
        return ngx_snprintf(dst, NGX_HTTP_RTBUS_OUTCOME_MAX,
                            "{\"ok\":true,\"id\":\"%V\"%s}", &outcome->id,
                            outcome->duplicate ? ",\"duplicate\":true" : "")
               - dst;
    }

    text = ngx_http_rtbus_outcome_text(outcome);
    len = ngx_strlen(text);

    while (rtbus_json_quote(NULL, (u_char *) text, len)
           > NGX_HTTP_RTBUS_OUTCOME_MAX - sizeof("{\"ok\":false,\"error\":}"))
    {
        len--;
    }

    p = ngx_cpymem(dst, "{\"ok\":false,\"error\":",
                   sizeof("{\"ok\":false,\"error\":") - 1);
    p += rtbus_json_quote(p, (u_char *) text, len);
    *p++ = '}';

    return p - dst;
}
