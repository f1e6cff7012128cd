FROM node:20-alpine AS compile
WORKDIR /ledger
COPY package.json package-lock.json ./
RUN npm ci --only=production
COPY .eslintrc.js tsconfig.json ./
COPY src/ ./src/
RUN npm run build
FROM node:20-alpine
WORKDIR /ledger
COPY --from=compile /ledger/dist ./dist
COPY --from=compile /ledger/node_modules ./node_modules
EXPOSE 3000
USER node
CMD ["node", "dist/index.js"]
