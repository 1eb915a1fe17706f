/* SPDX-License-Identifier: Apache-2.0 */
/* cli/images.h - the images of the pool as vmgr shows them. */
#pragma once

#include "conf/settings.h"

/* Prints the images of the settings' pool, a line each or (`as_json`) an array of objects; those that
 * are not fit with the reason. */
void vt_images_print(const VtSettings *settings, bool as_json);

/* Prints all that is known of one image. VT_ERROR_USER: there is none of that name. */
bool vt_images_print_one(const VtSettings *settings, const char *name, bool as_json,
                         GError **error);
