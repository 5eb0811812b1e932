/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Commands and logs that outlive the call that they came with. */

#include "core/provider.h"

/* With strings and descriptors of its own, to be freed by command_done(); also after a failure. */
int command_copy(const ProviderCommand *from, ProviderCommand *ret);
void command_done(ProviderCommand *c);
void command_close(ProviderCommand *c);         /* its descriptors alone */
