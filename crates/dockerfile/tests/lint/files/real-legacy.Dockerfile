FROM ubuntu
MAINTAINER Joe <joe@example.com>
ENV DEBIAN_FRONTEND noninteractive
RUN apt-get update
RUN apt-get install -y python3 python3-pip curl
RUN curl https://example.com/install.sh | sh
ADD . /app
RUN cd /app && pip3 install -r requirements.txt
RUN chmod -R 777 /app
EXPOSE 8000:8000
CMD python3 /app/main.py
