/* SPDX-License-Identifier: GPL-2.0 */
#ifndef MF_LRU_H
#define MF_LRU_H

void mf_lru_drain(void);

#endif
