/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The control listener: what happened, and what is to happen. */

#include "request.h"

#define PERSON_MAX 120

static void scenario_put(Request *q, Point *p)
{
    _cleanup_json_ json_object *o = NULL;
    _cleanup_scenario_ Scenario *s = NULL;
    _cleanup_free_ char *error = NULL;
    int r;

    r = json_parse(q->body ? q->body : "", q->body_size, &o);
    if (r < 0) {
        reply_error(q, 400, "InvalidScenario", "The body is not a JSON document.");
        return;
    }
    r = sim_config_scenario(q->state->config, o, "", &s, &error);
    if (r < 0) {
        reply_error(q, 400, "InvalidScenario", "%s", error ? error : strerror(-r));
        return;
    }
    state_scenario(q->state, p, TAKE_PTR(s));
    reply_empty(q, 204);
}

static void scenario(Request *q)
{
    Point *p = NULL;

    if (q->route.kind == REQUEST_SIM_POINT_SCENARIO) {
        p = sim_config_point(q->state->config, q->route.field[FIELD_POINT]);
        if (!p) {
            reply_error(q, 404, "NoSuchPoint", "No recovery point %.40s is configured.",
                        q->route.field[FIELD_POINT]);
            return;
        }
    }
    if (streq(q->method, "PUT"))
        scenario_put(q, p);
    else {
        state_scenario(q->state, p, NULL);
        reply_empty(q, 204);
    }
}

static void describe(Request *q)
{
    reply_empty(q, 200);
    q->text = state_describe(q->state);
    q->size = q->text ? strlen(q->text) : 0;
    q->content_type = "application/json";
}

/* What a person says to a sign in: {"person": NAME} or {"declined": true}. */
static void device(Request *q)
{
    static const char *const known[] = {"person", "declined", NULL};
    _cleanup_json_ json_object *o = NULL;
    Document d = {};
    const char *person;

    if (json_parse(q->body ? q->body : "", q->body_size, &o) < 0) {
        reply_error(q, 400, "InvalidDecision", "The body is not a JSON document.");
        return;
    }
    document_check(&d, o, "", known);
    person = document_string(&d, o, "", "person", false);
    if (person && strlen(person) > PERSON_MAX)
        document_refuse(&d, "", "person", "has more than %d bytes", PERSON_MAX);
    if (document_bool(&d, o, "", "declined", false) == (person != NULL))
        document_refuse(&d, "", "person", "or \"declined\": true is expected");
    if (d.error)
        reply_error(q, 400, "InvalidDecision", "%s", d.error);
    else if (state_device_decide(q->state, q->route.field[FIELD_CODE], person) < 0)
        reply_error(q, 404, "NoSuchCode", "No sign in waits with the code %.40s.",
                    q->route.field[FIELD_CODE]);
    else
        reply_empty(q, 204);
    free(d.error);
}

void control_handle(Request *q)
{
    switch (q->route.kind) {
    case REQUEST_SIM_STATE:
        describe(q);
        break;
    case REQUEST_SIM_LOG:
        state_log_clear(q->state);
        reply_empty(q, 204);
        break;
    case REQUEST_SIM_TOKENS:
        state_tokens_clear(q->state,
                           *q->route.field[FIELD_PRINCIPAL] ? q->route.field[FIELD_PRINCIPAL] : NULL);
        reply_empty(q, 204);
        break;
    case REQUEST_SIM_DEVICE:
        device(q);
        break;
    default:
        scenario(q);
        break;
    }
}
