FROM node:latest
# Anti-pattern: copying everything
COPY . .
RUN npm install
CMD ["node", "server.js"]
