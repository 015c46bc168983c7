# In place of the S3 server's image: the server that tools.mod pins, without its entrypoint, which compose.yaml sets itself.
FROM pgark.test/debian
COPY versitygw /usr/local/bin/versitygw
