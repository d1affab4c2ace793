/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MF_MFRAM_H
#define MF_MFRAM_H

int mf_mfram_init(void);
void mf_mfram_exit(void);

#endif
