# CPU image; everything comes from the project's own files.
FROM python:3.11-slim
COPY . /src
# Compiled kernels are cached here, so a container that runs as any user starts fast the second time.
ENV VSTATS_CACHE_DIR=/tmp/vstats-cache
RUN pip install --no-cache-dir -c /src/constraints/python3.11.txt /src && rm -rf /src
WORKDIR /data
ENTRYPOINT ["vstats"]
CMD ["--help"]
