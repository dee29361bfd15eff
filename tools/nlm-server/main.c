/* nlm-server: a model served over HTTP. */
int main(void) {
    return 0;
}
