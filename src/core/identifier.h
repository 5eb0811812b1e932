/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ids and names of sessions, and the rules for them. */

#include "basic/macro.h"

#define SESSION_ID_LENGTH 12

bool session_id_is_valid(const char *s);        /* a digit, then 11 of 0-9a-z without i, l, o, u: never a name */
bool session_name_is_valid(const char *s);      /* ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ */

/* 58 random bits. */
void session_id_generate(char ret[SESSION_ID_LENGTH + 1]);
/* "brave-otter-42": readable; the caller checks that it is free. The caller frees. */
char *session_name_generate(void);
