/* Memory that a process has and does not need any more. */
#ifndef P2PD_HOST_MEMORY_H
#define P2PD_HOST_MEMORY_H

/* Gives back to the kernel what start alone needed: free heap, and pages of code. Any thread. */
void memory_trim(void);

#endif
