/* SPDX-License-Identifier: GPL-2.0 */
#ifndef VERSION_H
#define VERSION_H

#ifndef MIGRATE_FAST_VERSION
#define MIGRATE_FAST_VERSION	"0.1.0"
#endif

#endif /* VERSION_H */
