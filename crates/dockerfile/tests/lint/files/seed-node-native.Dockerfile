FROM node:18-alpine
RUN apk add --no-cache python3 make g++
COPY package.json .
RUN npm install
COPY . .
CMD ["node", "server.js"]
