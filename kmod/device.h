/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MF_DEVICE_H
#define MF_DEVICE_H

int mf_device_init(void);
void mf_device_exit(void);

#endif
