/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Generated ids and names; the rules that they keep are those of core/template.h. */

#define SESSION_ID_LENGTH 12

/* A digit, then 11 of 0-9a-z without i, l, o, u (58 random bits): never a name. */
void session_id_generate(char ret[SESSION_ID_LENGTH + 1]);
/* "brave-otter-42": readable; the caller checks that it is free. The caller frees. */
char *session_name_generate(void);
