/* nlm-tokenize train: a vocabulary from text. */
#ifndef NLM_TOKENIZE_TRAIN_H
#define NLM_TOKENIZE_TRAIN_H

/* argv[0] is "train". Returns what to exit with. */
int train_main(int argc, char **argv);

#endif
